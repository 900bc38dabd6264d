"""One request from its form to its answer: the key, the contract, the idempotency key, ordered failures, the work."""

import json
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass

from tests.stripe_double import expansion, routing
from tests.stripe_double.account import Account
from tests.stripe_double.contract import Json, Operation
from tests.stripe_double.errors import Refusal, not_implemented
from tests.stripe_double.faults import Fault, Faults, When
from tests.stripe_double.idempotency import Answer, Keys

ORDERED = Refusal("An error that a test ordered.", kind="api_error")
LIMITED = Refusal("Too many requests hit the API too quickly.", status=429, code="rate_limit")


class HangUp(Exception):  # noqa: N818 - ordered, not an error
    """The connection is to be closed without an answer."""


@dataclass(frozen=True)
class Request:
    """What came over the wire."""

    method: str
    address: str
    form: str
    headers: Mapping[str, str]


@dataclass(frozen=True)
class _Call:
    request: Request
    route: routing.Route
    ids: Mapping[str, str]
    operation: Operation
    parameters: Json


class Execution:
    """Executes requests; several threads may at once."""

    def __init__(self, account: Account, faults: Faults, *, api_key: str) -> None:
        self._account = account
        self._faults = faults
        self._api_key = api_key
        self._keys = Keys()
        self.requests: list[Request] = []

    def answer(self, request: Request) -> Answer:
        """Return the answer to a request; raise `HangUp` where none is to be given."""
        self.requests.append(request)
        try:
            self._authenticate(request)
            call = self._understood(request)
            key = request.headers.get("idempotency-key") if request.method == "POST" else None
            if key is None:
                return self._attempted(call, key)
            name = (request.method, request.address)
            found = self._keys.begin(key, name, call.parameters, now=self._account.now())
            if found is not None:
                self._replaying(request)
                return found
            return self._attempted(call, key)
        except Refusal as refusal:
            return Answer(refusal.status, refusal.body())
        except HangUp:
            raise
        except Exception:  # noqa: BLE001 - recorded, whatever it is
            self.broke()
            return Answer(500, Refusal("The double broke.", kind="api_error").body())

    def broke(self) -> None:
        """Record an error of the double's own, which is being handled: the test that met it fails by it."""
        self._violation(f"the double broke: {traceback.format_exc()}")

    def _authenticate(self, request: Request) -> None:
        if request.headers.get("authorization") != f"Bearer {self._api_key}":
            raise Refusal("Invalid API Key provided.", status=401)
        version = request.headers.get("stripe-version")
        if version != self._account.contract.version:
            self._violation(f"{request.method} {request.address}: version {version} of the API")
            raise Refusal(f"Invalid Stripe API version: {version}")

    def _understood(self, request: Request) -> _Call:
        """Find what is called, and judge the parameters."""
        found = routing.find(request.method, request.address)
        operation = found and self._account.contract.operation(request.method, found[0].path)
        if not found or not operation:
            self._violation(f"{request.method} {request.address} is not implemented by the double")
            if self._account.contract.knows(request.method, request.address):
                raise Refusal("The double does not implement this.", kind="api_error", status=501)
            raise Refusal(f"Unrecognized request URL ({request.method}: {request.address}).", status=404)
        parameters, broken = self._account.contract.parameters(operation, request.form)
        if broken:
            for each in broken:
                self._violation(f"{request.method} {request.address}: {each}")
            raise Refusal(f"Received invalid parameters: {broken[0]}", code="parameter_unknown")
        beyond = found[0].beyond(parameters)
        if beyond:
            self._violation(f"{request.method} {request.address}: the double does not implement {beyond}")
            raise not_implemented(beyond)
        return _Call(request, *found, operation, parameters)

    def _replaying(self, request: Request) -> None:
        """Let an ordered failure meet a repeat too: whatever was answered before, the caller may not hear of it."""
        fault = self._faults.next(request.method, request.address)
        if fault is not None:
            time.sleep(fault.delay_seconds)
            _fail(fault)

    def _attempted(self, call: _Call, key: str | None) -> Answer:
        """Do the work, unless an ordered failure comes first; keep the answer under the key or free the key."""
        fault = self._faults.next(call.request.method, call.request.address)
        answer = None
        try:
            if fault is not None:
                time.sleep(fault.delay_seconds)
                if fault.when is When.BEFORE:
                    _fail(fault)
            answer, kept = self._worked(call, key)
            if fault is not None and fault.when is When.REMEMBERED:
                answer = Answer(500, ORDERED.body())
            if key is not None and kept:
                self._keys.keep(key, answer)
            if fault is not None and fault.when is not When.BEFORE:
                _fail(fault)
        finally:
            if key is not None and (answer is None or not kept):
                self._keys.give_up(key)
        return answer

    def _worked(self, call: _Call, key: str | None) -> tuple[Answer, bool]:
        """Return the answer, and whether the operation was executed."""
        parameters = dict(call.parameters)
        wanted = parameters.pop("expand", [])
        account = self._account
        with account.lock:
            account.idempotency_key = key
            try:
                found = call.route.handler(account, parameters, **call.ids)
                text = json.dumps(expansion.expanded(account, found, wanted))
            except Refusal as refusal:
                body = json.loads(json.dumps(refusal.body()))
                self._judge(call, [] if _is_error(body) else ["an error without a form"])
                return Answer(refusal.status, body), refusal.executed
            finally:
                account.idempotency_key = None
        body = json.loads(text)
        self._judge(call, account.contract.answer_errors(call.operation, body))
        return Answer(200, body), True

    def _judge(self, call: _Call, broken: list[str]) -> None:
        for each in broken:
            self._violation(f"answer to {call.request.method} {call.request.address}: {each}")

    def _violation(self, text: str) -> None:
        with self._account.lock:
            self._account.violations.append(text)


def _is_error(body: Json) -> bool:
    return {"message", "type"} <= set(body["error"])


def _fail(fault: Fault) -> None:
    if fault.status is None:
        raise HangUp
    if fault.status == LIMITED.status:
        raise LIMITED
    if fault.status != 200:  # a delay is no failure
        raise Refusal("An error that a test ordered.", kind="api_error", status=fault.status)
