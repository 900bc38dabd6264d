"""Finds who runs sandboxes for this installation, and says why nobody does."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import Final

import structlog

from tallystick.config import Config
from tallystick.ports.sandboxes import SandboxesUnavailable, SandboxProvider
from tallystick.providers.e2b import E2BSandboxes
from tallystick.providers.local import LocalSandboxes

OFF = "the operator has turned sandboxes off (TALLY_SANDBOXES)"
NOT_ASKED_FOR = (
    "TALLY_MODE=live runs no code of users on this machine unless TALLY_SANDBOXES=local says so: "
    "they would share its kernel"
)

_RUNTIME: Final = "XDG_RUNTIME_DIR"

log = structlog.get_logger(__name__)


def find_sandboxes(config: Config, installation: str) -> tuple[SandboxProvider | None, str]:
    """The provider that the settings ask for, or None and a sentence that says what is missing.

    ``installation`` tells this database's sandboxes from those of others on the same machine.
    """
    if config.sandboxes == "off":
        return None, OFF
    is_hosted = config.sandboxes == "auto" and config.e2b_api_key is not None
    if config.sandboxes == "auto" and config.is_live and not is_hosted:
        return None, NOT_ASKED_FOR
    try:
        found = _hosted(config, installation) if is_hosted else _local(config, installation)
    except SandboxesUnavailable as unavailable:
        log.warning("no sandboxes on this server", why=unavailable.detail)
        return None, unavailable.detail
    able = found.capabilities
    log.info("sandboxes", run_by=found.name, isolation=able.isolation, limits=able.limits)
    for warning in able.warnings:
        log.warning("sandboxes", run_by=found.name, warning=warning)
    return found, ""


def _hosted(config: Config, installation: str) -> SandboxProvider:
    return E2BSandboxes(
        config.e2b_api_key or "",
        installation=installation,
        now=lambda: time.time_ns() // 1000,
        api_url=config.e2b_api_url,
    )


def _local(config: Config, installation: str) -> SandboxProvider:
    return LocalSandboxes(
        state_dir=_folder(config) / f"tallystick-{installation}", templates_dir=config.sandbox_templates
    )


def _folder(config: Config) -> Path:
    """Where the private folders of installations are: one that a restart of the machine empties, if nobody chose."""
    runtime = os.environ.get(_RUNTIME)
    return Path(
        config.sandbox_dir or (runtime if runtime and Path(runtime).is_dir() else tempfile.gettempdir())
    )
