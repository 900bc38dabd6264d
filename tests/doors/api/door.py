"""The REST door for tests: a server in a thread, real HTTP, and a clock that the test moves."""

import itertools
import socket
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import uvicorn
from argon2 import PasswordHasher

from tallystick.api.app import create_app
from tallystick.api.metrics import Metrics
from tallystick.bootstrap import Tally
from tallystick.ports.sandboxes import SandboxProvider
from tallystick.services.identity import Identity
from tallystick.services.passwords import Passwords
from tests.contract.conformance import contract_of
from tests.tallies import FakeClock

ADMIN = "tly_the-admin-key-of-the-tests"
PASSWORD = "correct horse"
WEAK = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)

ECONOMY = """
[economy]
title = "Door"
primary_unit = "credits"
default_plan = "free"

[units.credits]
description = "Credits"
[units.USD]
description = "Dollars"
money = true

[[sign_up]]
amount = 100
category = "initial_grant"
description = "Welcome"
[[sign_up]]
unit = "USD"
amount = 5
category = "initial_grant"
description = "Dollars once"

[plans.free]
title = "Free"
price_usd = 0
[plans.pro]
title = "Pro"
price_usd = 19
[[plans.pro.allowances]]
amount = 300
[plans.unlimited]
title = "Unlimited"
[[plans.unlimited.allowances]]
amount = "unlimited"

[packs.small]
title = "Small"
credits = 100
price_usd = 1

[purchase]
min_usd = 10
max_usd = 1000
credits_per_usd = 10

[meters.lookup]
category = "data"
description = "One look-up"
price = 1
[meters.tokens]
category = "model"
description = "By the token"
[[meters.tokens.prices]]
kind = "per_unit"
per_unit = 0.0000045
[meters.tiered]
category = "model"
description = "Cheaper in bulk"
[[meters.tiered.prices]]
kind = "graduated"
tiers = [{ up_to = 10, per_unit = 1 }, { per_unit = 0.5 }]
[meters.both]
category = "sandbox"
description = "A credit and two cents"
[[meters.both.prices]]
kind = "flat"
flat = 1
[[meters.both.prices]]
unit = "USD"
kind = "per_unit"
per_unit = 0.02
[meters.limited]
category = "search"
description = "Three an hour"
price = 1
hourly_limit = 3
[meters.ping]
category = "system"
description = "Free"
price = 0

[task_fee]
basis_points = 500

[low_balance]
credits = [10, 50]
"""


class Door:
    """A running server with one customer, ``ann``, and words for what tests do with it."""

    def __init__(
        self,
        url: str,
        folder: Path,
        *,
        at: str = "2027-01-10T12:00:00Z",
        test_mode: bool = False,
        economy: str | None = None,
        sandboxes: SandboxProvider | None = None,
    ) -> None:
        path = folder / "door.toml"
        path.write_text(ECONOMY)
        self.clock = FakeClock(at)
        self.metrics = Metrics()
        self.tally = Tally.open(
            url,
            economy=economy or str(path),
            test_mode=test_mode,
            source=self.clock,
            observe=self.metrics.observe_batch,
            sandbox_provider=sandboxes,
        )
        self.tally.identity = Identity(self.tally.context, self.tally.customers, passwords=Passwords(WEAK))
        self.tally.identity.ensure_admin_key(ADMIN)
        self.app = create_app(self.tally, metrics=self.metrics, worker_lag=lambda: 1.5)
        self._server = ThreadServer(self.app)
        self.url = self._server.url
        self.client = self.client_of(ADMIN)
        self._numbers = itertools.count()
        self.post("/customers", {"external_id": "ann"})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.client.close()
        self._server.stop()
        self.tally.close()

    def client_of(self, token: str | None) -> httpx.Client:
        """A client that shows a token, or none."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        hooks = {"response": [self._check]}
        return httpx.Client(base_url=f"{self.url}/api/v1", headers=headers, timeout=30, event_hooks=hooks)

    def _check(self, answer: httpx.Response) -> None:
        """Every answer has the form that the OpenAPI document promises."""
        body, kind = answer.read(), answer.headers.get("content-type", "")
        contract = contract_of(self.app)
        contract.check(answer.request.method, answer.request.url.path, answer.status_code, kind, body)

    def key(self) -> dict[str, str]:
        """The header with an idempotency key that nobody used."""
        return {"Idempotency-Key": f"key {next(self._numbers)}"}

    def send(
        self, method: str, path: str, body: object = None, *, token: str | None = ADMIN, key: str | None = ""
    ) -> httpx.Response:
        """Any request; a fresh idempotency key unless one, or None, is given."""
        headers = {} if key is None else self.key() if not key else {"Idempotency-Key": key}
        headers["Authorization"] = f"Bearer {token}" if token is not None else ""
        return self.client.request(method, path, headers=headers, json=body)

    def post(self, path: str, body: object = None, **terms: Any) -> Any:
        """A POST that must succeed; gives the body, its numbers as decimals."""
        return read(self.send("POST", path, body, **terms))

    def get(self, path: str, *, token: str = ADMIN) -> Any:
        """A GET that must succeed."""
        return read(self.send("GET", path, token=token, key=None))

    def charge(self, meter: str = "lookup", *, customer: str | None = "ann", **terms: Any) -> Any:
        """A charge that must succeed."""
        token = terms.pop("token", ADMIN)
        body = {"meter": meter, **terms} | ({} if customer is None else {"customer": customer})
        return self.post("/charges", body, token=token)

    def balance(self, customer: str = "ann", unit: str = "credits") -> Any:
        """What a customer has."""
        return self.get(f"/billing/balance?customer={customer}&unit={unit}")

    def available(self, customer: str = "ann") -> Decimal:
        """What a customer can spend."""
        found: Decimal = Decimal(self.balance(customer)["available"])
        return found

    def register(self, email: str = "ada@example.test") -> Any:
        """A new user, logged in."""
        return self.post("/auth/register", {"email": email, "password": PASSWORD}, token=None)

    def service(self, name: str = "gateway") -> str:
        """A service's key."""
        key: str = self.post("/keys", {"name": name, "role": "service"})["key"]
        return key


class ThreadServer:
    """uvicorn in a thread, on a port of its own."""

    def __init__(self, app: Any, *, port: int = 0) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        options = uvicorn.Config(app, log_config=None, access_log=False, lifespan="on", ws="none")
        self._server = uvicorn.Server(options)
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()
        wait_until(lambda: self._server.started)

    def stop(self) -> None:
        """Finish what runs, and end."""
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


def read(answer: httpx.Response) -> Any:
    """The body of a successful answer; numbers are exact."""
    assert answer.is_success, answer.text
    return answer.json(parse_float=Decimal) if answer.content else None


def wait_until(holds: Callable[[], bool], *, seconds: float = 20) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def problem(answer: httpx.Response, status: int, code: str) -> Any:
    """The problem of a refused request, after checking its form."""
    assert (status, code) == (answer.status_code, answer.json().get("code")), answer.text
    assert "application/problem+json" == answer.headers["content-type"]
    found = answer.json(parse_float=Decimal)
    assert {"type", "title", "status", "detail", "code", "request_id"} <= set(found)
    assert status == found["status"]
    assert found["request_id"] == answer.headers["x-request-id"]
    assert found["type"].endswith(f"/docs#{code.lower()}")
    if status == 422:
        assert found["errors"]
        assert all({"field", "message"} == set(each) for each in found["errors"])
    return found
