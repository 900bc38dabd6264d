"""E2B's control API: sandboxes are made, listed, looked at, given more time and ended."""

import datetime as dt
import re
import secrets
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, unquote

from tallystick.ports.sandboxes import SandboxOrder, SandboxProvider
from tests.providers.e2b_emulator.machines import HOURS, TEMPLATES, Machine
from tests.providers.e2b_emulator.messages import Answer, Request, answer, refusal

SESSION_SECONDS_MAX = 3_600
DEFAULT_SECONDS = 300
_ONE = re.compile(r"(?:/v2)?/sandboxes/([^/]+)(/timeout|/connect)?")
_EVENTS = re.compile(r"/events/sandboxes/([^/]+)")


class Control:
    """One account. ``concurrency`` is how many sandboxes it may have, ``page`` how many it is shown at once at most."""

    def __init__(
        self, host: SandboxProvider, host_template: str, api_key: str, now: Callable[[], float]
    ) -> None:
        self.machines: dict[str, Machine] = {}
        self.concurrency = 20
        self.page = 100
        self.remembers_keys = True
        self.records_ends = True
        self.created = 0
        self._host = host
        self._host_template = host_template
        self._api_key = api_key
        self._now = now
        self._lock = threading.RLock()
        self._answers: dict[str, tuple[bytes, Answer]] = {}
        self.ends: dict[str, list[dict[str, Any]]] = {}

    def reply(self, request: Request) -> Answer:
        """Answer a request to the control API."""
        if request.headers.get("x-api-key") != self._api_key:
            return refusal(401, "Invalid API key")
        self.reap()
        if request.path in ("/sandboxes", "/v2/sandboxes"):
            return self._create(request) if request.method == "POST" else self._list(request)
        events = _EVENTS.fullmatch(request.path)
        if events is not None:
            return answer(self.ends.get(events[1], []))
        one = _ONE.fullmatch(request.path)
        return refusal(501, "not emulated") if one is None else self._one(request, one[1], one[2])

    def reap(self) -> None:
        """End what is over its time."""
        for machine in list(self.machines.values()):
            if machine.ends_at <= self._now() and not machine.paused:
                self.end(machine.id)

    def end(self, name: str) -> bool:
        """End a sandbox, and record how long it ran."""
        with self._lock:
            machine = self.machines.pop(name, None)
        if machine is None:
            return False
        until = min(self._now(), machine.ends_at)
        if self.records_ends:
            self.ends[name] = [_killed(machine, moment(until), round((until - machine.started_at) * 1_000))]
        machine.end()
        return True

    def _create(self, request: Request) -> Answer:
        with self._lock:
            key = request.headers.get("idempotency-key")
            if key is not None and self.remembers_keys and key in self._answers:
                body, made = self._answers[key]
                return made if body == request.body else refusal(409, "the idempotency key is in use")
            made = self._make(request.json())
            if key is not None and made.status == 201:
                self._answers[key] = (request.body, made)
            return made

    def _make(self, wanted: dict[str, Any]) -> Answer:
        template, seconds = wanted["templateID"], wanted.get("timeout", DEFAULT_SECONDS)
        if template not in TEMPLATES:
            return refusal(404, f"template '{template}' not found")
        if seconds > SESSION_SECONDS_MAX:
            return refusal(400, "Timeout cannot be greater than 1 hours")
        if len(self.machines) >= self.concurrency:
            return refusal(
                429, f"you have reached the maximum number of concurrent E2B sandboxes ({self.concurrency})"
            )
        name = f"i{secrets.token_hex(10)}"
        order = SandboxOrder(
            reference=f"sbx_{name}", template=self._host_template, vcpu=1, memory_mib=512, seconds=HOURS
        )
        made = self._host.create(order, key=name)
        started_at = self._now()
        machine = Machine(
            id=name,
            template=template,
            metadata=wanted.get("metadata") or {},
            env=wanted.get("envVars") or {},
            started_at=started_at,
            ends_at=started_at + seconds,
            host=self._host,
            handle=made.handle,
        )
        self.machines[name] = machine
        self.created += 1
        return answer(machine.seen(moment), status=201)

    def _list(self, request: Request) -> Answer:
        wanted = {
            unquote(name): unquote(text) for name, text in parse_qsl(request.parameter("metadata") or "")
        }
        states = (request.parameter("state") or "running,paused").split(",")
        found = [
            each
            for each in self.machines.values()
            if wanted.items() <= each.metadata.items() and ("paused" if each.paused else "running") in states
        ]
        first = int(request.parameter("nextToken") or 0)
        last = first + min(self.page, int(request.parameter("limit") or self.page))
        shown = answer([each.seen(moment) for each in found[first:last]])
        if last < len(found):
            shown.headers["x-next-token"] = str(last)
        return shown

    def _one(self, request: Request, name: str, what: str | None) -> Answer:
        machine = self.machines.get(name)
        if machine is None:
            return refusal(404, f"sandbox '{name}' not found")
        match request.method, what:
            case "GET", None:
                return answer(machine.seen(moment))
            case "DELETE", None:
                self.end(name)
                return Answer(204)
            case "POST", "/timeout":
                machine.ends_at = self._now() + request.json()["timeout"]
                return Answer(204)
            case "POST", "/connect":
                longer = self._now() + request.json().get("timeout", DEFAULT_SECONDS)
                machine.ends_at = max(machine.ends_at, longer)
                machine.paused = False
                return answer(machine.seen(moment))
        return refusal(501, "not emulated")


def moment(seconds: float) -> str:
    """A time as E2B writes it."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC).isoformat().replace("+00:00", "Z")


def _killed(machine: Machine, at: str, lived_ms: int) -> dict[str, Any]:
    return {
        "version": "v2",
        "id": secrets.token_hex(8),
        "type": "sandbox.lifecycle.killed",
        "eventData": {
            "sandbox_metadata": machine.metadata,
            "execution": {
                "started_at": moment(machine.started_at),
                "vcpu_count": machine.size.vcpu,
                "memory_mb": machine.size.memory_mib,
                "execution_time": lived_ms,
            },
        },
        "sandboxId": machine.id,
        "timestamp": at,
    }
