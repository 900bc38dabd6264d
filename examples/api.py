"""What the scenes share: requests with exact numbers and safe repeats, and printing.

The server is that of TALLY_URL, and TALLY_ADMIN_KEY is the key of an admin. The scenes make customers and
move the test clock: run them against a server that you can throw away.
"""

import json
import os
import uuid
from decimal import Decimal
from typing import Any

import httpx

URL = os.environ.get("TALLY_URL", "http://127.0.0.1:8080")


class Refused(Exception):  # noqa: N818 - a refusal is an answer
    """The server said no, and nothing was changed. ``problem`` says why."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem["detail"])
        self.status: int = problem["status"]
        self.code: str = problem["code"]
        self.problem = problem


class Api:
    """The API as whoever the token or key belongs to."""

    def __init__(self, token: str | None = None) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._http = httpx.Client(base_url=f"{URL}/api/v1", headers=headers, timeout=60)

    def get(self, path: str, **query: str | int) -> dict[str, Any]:
        """Read something."""
        return self._answer(self._http.get(path, params=query))

    def post(self, path: str, **body: object) -> dict[str, Any]:
        """Do something, once: a program of yours keeps the key and sends it again when no answer came."""
        key = uuid.uuid4().hex
        return self._answer(self._http.post(path, json=body, headers={"Idempotency-Key": key}))

    def _answer(self, response: httpx.Response) -> dict[str, Any]:
        # Money is read as decimals: a float would round it.
        found: dict[str, Any] = json.loads(response.text, parse_float=Decimal)
        if response.is_error:
            raise Refused(found)
        return found


def admin() -> Api:
    """The API as the operator."""
    return Api(os.environ.get("TALLY_ADMIN_KEY") or os.environ["TALLY_API_KEY"])


def register(name: str) -> tuple[Api, str]:
    """A new user with a key that outlives its session, and the id of its customer."""
    email = f"{name}-{uuid.uuid4().hex[:8]}@example.com"
    made = Api().post("/auth/register", email=email, password=uuid.uuid4().hex)
    key = Api(made["token"]).post("/keys", name=name)
    return Api(key["key"]), made["customer"]["id"]


def heading(text: str) -> None:
    """The title of a part of the scene."""
    print(f"\n{text}\n{'-' * len(text)}")


def say(words: str, **figures: object) -> None:
    """One line with its figures."""
    print("  ".join([f"{words:<44}", *(f"{name} {figure}" for name, figure in figures.items())]).rstrip())


def statement(api: Api, **query: str | int) -> None:
    """Every line of a wallet, oldest first, as its owner sees it."""
    lines = api.get("/billing/transactions", limit=100, **query)["transactions"]
    for line in reversed(lines):
        what = line["meter"] or line["category"] or line["description"] or ""
        print(
            f"{line['date'][:16].replace('T', ' ')}  {line['type']:<18}{what:<34}"
            f"{line['amount']:>12}{line['balance_after']:>14} {line['unit']}"
        )
