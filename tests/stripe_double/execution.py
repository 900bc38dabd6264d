"""One request from its form to its answer: the key, the contract, the idempotency key, ordered failures, the work."""

import json
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass

from tests.stripe_double import expansion, routing
from tests.stripe_double.account import UNASKED, Account
from tests.stripe_double.contract import Json, Operation, forms
from tests.stripe_double.errors import Refusal, not_implemented
from tests.stripe_double.faults import Fault, Faults, When
from tests.stripe_double.idempotency import Answer, Keys
from tests.stripe_double.resources import renewals

ORDERED = Refusal("An error that a test ordered.", kind="api_error")
LIMITED = Refusal("Too many requests hit the API too quickly.", status=429, code="rate_limit")


class HangUp(Exception):  # noqa: N818 - ordered, not an error
    """The connection is to be closed without an answer."""


@dataclass(frozen=True)
class Request:
    """What came over the wire."""

    id: str
    method: str
    address: str
    form: str
    headers: Mapping[str, str]

    @property
    def parameters(self) -> Json:
        """What the form says, as texts."""
        return forms.decoded(self.form)


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
            return self._answered(request)
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

    def _answered(self, request: Request) -> Answer:
        self._authenticate(request)
        call = self._understood(request)
        fault = self._faults.next(request.method, request.address)
        if fault is not None and fault.when is When.BEFORE:
            _fail(fault)
        answer = self._once(call, fault)
        if fault is not None and fault.when is not When.BEFORE:
            _fail(fault)
        return answer

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

    def _once(self, call: _Call, fault: Fault | None) -> Answer:
        """Do the work, or find the answer that was given under the same key; a key is kept if the work was done."""
        key = call.request.headers.get("idempotency-key") if call.request.method == "POST" else None
        if key is None:
            return self._worked(call, key)[0]
        name = (call.request.method, call.request.address)
        found = self._keys.begin(key, name, call.parameters, now=self._account.now())
        if found is not None:
            return found
        kept = None
        try:
            time.sleep(fault.delay_seconds if fault else 0)
            answer, executed = self._worked(call, key)
            if executed:
                kept = answer
                if fault is not None and fault.when is When.REMEMBERED:
                    kept = Answer(500, ORDERED.body())
        finally:
            if kept is None:
                self._keys.give_up(key)
            else:
                self._keys.keep(key, kept)
        return answer

    def _worked(self, call: _Call, key: str | None) -> tuple[Answer, bool]:
        """Return the answer, and whether the operation was executed."""
        parameters = dict(call.parameters)
        wanted = parameters.pop("expand", [])
        account = self._account
        with account.lock:
            renewals.catch_up(account)
            account.request = {"id": call.request.id, "idempotency_key": key}
            try:
                found = call.route.handler(account, parameters, **call.ids)
                text = json.dumps(expansion.expanded(account, found, wanted))
            except Refusal as refusal:
                body = json.loads(json.dumps(refusal.body()))
                self._judge(call, [] if _is_error(body) else ["an error without a form"])
                return Answer(refusal.status, body), refusal.executed
            finally:
                account.request = dict(UNASKED)
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
