"""How the server itself is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from tallystick.client.models import Model
from tallystick.client.operations import Mode, Resource, operation
from tallystick.client.requests import Request, get

M = TypeVar("M", bound=Model)


@dataclass(frozen=True, kw_only=True)
class Health(Model):
    """The process is alive."""

    status: str


@dataclass(frozen=True, kw_only=True)
class Readiness(Model):
    """Whether requests should be sent here, and what each check found."""

    status: str
    checks: Mapping[str, str]


class Server(Resource[Mode]):
    """For whoever runs it."""

    @operation
    def get_health(self) -> Request[Health]:
        """The process is alive."""
        return at_root("/healthz", Health)

    @operation
    def get_readiness(self) -> Request[Readiness]:
        """Whether requests should be sent here; ``status`` is ``ready`` or ``not ready``."""
        return replace(at_root("/readyz", Readiness), also_fine=frozenset({503}))

    @operation
    def get_metrics(self) -> Request[str]:
        """Figures for Prometheus, as text."""
        return Request(method="GET", path="/metrics", read=bytes.decode, media_type="text/plain")


def at_root(path: str, model: type[M]) -> Request[M]:
    """An address that is not below the interface's."""
    return replace(get(path, model), path=path)
