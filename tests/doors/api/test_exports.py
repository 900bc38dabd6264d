"""Exports over HTTP: files that spreadsheets and programs read the same, with nothing in them that runs."""

import csv
import io
import re
from decimal import Decimal
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from tallystick.core import errors
from tallystick.core.ids import from_text
from tallystick.services import exports
from tallystick.store import statements
from tests.doors.api.door import Door, problem

NAMES = ("transactions", "usage", "payments")
GOOD_CARD = "4242 4242 4242 4242"


def file(door: Door, path: str, *, token: str | None = None) -> list[dict[str, str]]:
    """The lines of an export, after checking its form."""
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    answer = door.client.get(f"/billing/export/{path}", headers=headers)
    assert 200 == answer.status_code, answer.text
    assert "text/csv; charset=utf-8" == answer.headers["content-type"]
    name = re.escape(path.partition("?")[0])
    assert re.fullmatch(
        rf'attachment; filename="{name}-[A-Za-z0-9_-]+\.csv"', answer.headers["content-disposition"]
    )
    assert answer.content.endswith(b"\r\n")
    return list(csv.DictReader(io.StringIO(answer.content.decode(), newline=""), strict=True))


def buy(door: Door, *, customer: str = "ann") -> Any:
    """A pack, bought and paid; gives the payment as JSON shows it."""
    page = door.post("/billing/checkout", {"customer": customer, "package": "small"})
    assert door.tally.simulated_payments is not None
    assert "done" == door.tally.simulated_payments.pay(page["session_id"], GOOD_CARD)
    return look(door, page["payment"])


def look(door: Door, payment: str) -> Any:
    """A payment as JSON shows it, once our books say of it what the provider says."""
    number = from_text("pay", payment)
    assert number is not None
    door.tally.fulfilment.look(number)
    return door.get(f"/billing/payments/{payment}")


def test_a_statement_is_exact(door: Door) -> None:
    """Amounts to the last micro-unit; the lines add up, fit each other, and are those of the JSON list."""
    door.charge("tokens", quantity=1)
    door.charge("tokens", quantity=333_333, description='a, "b"\nc', metadata={"n": 1.5})
    door.charge("tiered", quantity=12, agent="bot")
    lines = file(door, "transactions?customer=ann")
    listed = door.get("/billing/transactions?customer=ann")["transactions"][::-1]
    balance = Decimal(0)
    for line, entry in zip(lines, listed, strict=True):
        balance += Decimal(line["amount"])
        assert balance == Decimal(line["balance_after"]) == entry["balance_after"]
        for name in ("id", "date", "type", "unit"):
            assert entry[name] == line[name]
        for name in ("category", "meter", "description", "reference", "agent"):
            assert (entry[name] or "") == line[name]
    assert balance == door.balance()["balance"]
    assert ["1", "2", "3", "4"] == [line["line"] for line in lines]
    assert ("-0.000005", '{"n":1.5}') == (lines[1]["amount"], lines[2]["metadata"])
    assert {door.get("/customers/ann")["id"]} == {line["customer"] for line in lines}


def test_usage_agrees_with_the_json(door: Door) -> None:
    """The same days, the same meters, the same sums."""
    door.charge("tiered", quantity=4)
    door.clock.advance("P1D")
    charge = door.charge("lookup")["id"]
    door.charge("lookup")
    door.post(f"/charges/{charge}/refund")
    assert [
        ["2027-01-10", "tiered", "credits", "1", "4", "0", "4", "0"],
        ["2027-01-11", "lookup", "credits", "3", "2", "1", "1", "0"],
    ] == [[line[name] for name in line if name != "customer"] for line in file(door, "usage?customer=ann")]
    shown = door.get("/billing/usage?customer=ann")["totals"]
    assert shown["spent"] == sum(Decimal(line["spent"]) for line in file(door, "usage?customer=ann"))


def test_a_payment_leads_to_its_credits_and_back(door: Door) -> None:
    """The statement's lines of a payment name it, its grant has the same id in both files, and refunds are in both."""
    bought = buy(door)
    payment = bought["payment"]
    door.post(f"/billing/payments/{payment['id']}/refund", {"amount": 0.25})
    look(door, payment["id"])
    [line] = file(door, "payments?customer=ann")
    mine = [each for each in file(door, "transactions?customer=ann") if each["grant_reference"] == line["id"]]
    assert [("purchase", "100"), ("clawback", "-25")] == [(each["type"], each["amount"]) for each in mine]
    assert {line["grant"]} == {each["reference"] for each in mine} == {payment["grant"]}
    assert ("ann", "1", "0.25", "usd", "100", "25", "partially_refunded", "test") == tuple(
        line[name]
        for name in (
            "external_id", "amount", "refunded", "currency", "credits", "credits_taken_back", "status", "mode"
        )
    )  # fmt: skip
    assert (bought["provider_reference"], bought["session_id"], bought["paid_at"]) == (
        line["provider_reference"], line["session_id"], line["paid_at"]
    )  # fmt: skip


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", "\uff1d1", "'=1", '=1,"x"\r\n=2']
)
def test_no_text_is_a_formula(door: Door, text: str) -> None:
    """Whatever a customer wrote; taking the apostrophe away gives it back, and numbers stay numbers."""
    door.charge(description=text, agent=text)
    door.post("/grants", {"customer": "ann", "amount": 1, "category": "bonus", "reference": text})
    _, charged, given = file(door, "transactions?customer=ann")
    assert {f"'{text}"} == {charged["description"], charged["agent"], given["grant_reference"]}
    assert ("-1", "99") == (charged["amount"], charged["balance_after"])
    door.post("/customers", {"external_id": text})
    door.post("/billing/checkout", {"customer": text, "package": "small"})
    assert [f"'{text}"] == [line["external_id"] for line in file(door, "payments?all=true")]


def test_plain_text_stays_as_it_is(door: Door) -> None:
    """Nothing is put before what no spreadsheet takes for a formula."""
    for text in ("a=b", "5-3", "it's", "'quoted'", "a\n=b"):
        door.charge(description=text)
        assert text == file(door, "transactions?customer=ann")[-1]["description"]


def test_nobody_exports_what_is_anothers(door: Door) -> None:
    """Another customer is unknown; everybody's payments are for services and admins."""
    token = door.register()["token"]
    for name in NAMES:
        problem(
            door.send("GET", f"/billing/export/{name}?customer=ann", token=token), 404, "UNKNOWN_CUSTOMER"
        )
        problem(door.send("GET", f"/billing/export/{name}", token=None, key=None), 401, "NOT_AUTHENTICATED")
        problem(door.send("GET", f"/billing/export/{name}"), 422, "VALIDATION_FAILED")
        file(door, name, token=token)
    buy(door)
    problem(door.send("GET", "/billing/export/payments?all=true", token=token), 403, "NOT_ALLOWED")
    problem(door.send("GET", "/billing/export/payments?all=true&customer=ann"), 422, "VALIDATION_FAILED")
    assert [] == file(door, "payments", token=token)
    assert 1 == len(file(door, "payments?all=true", token=door.service()))


def test_bad_bounds_are_refused(door: Door) -> None:
    """A time without a zone, an end before the beginning, a unit that there is not."""
    for name in NAMES:
        where = f"/billing/export/{name}?customer=ann"
        for bounds in (
            "from=yesterday",
            "to=2027-01-01",
            "from=2027-01-02T00:00:00Z&to=2027-01-02T00:00:00Z",
        ):
            found = problem(door.send("GET", f"{where}&{bounds}"), 422, "VALIDATION_FAILED")
            assert found["errors"][0]["field"] in {"from", "to"}
        for unit in ("gold", "%00"):
            problem(door.send("GET", f"{where}&unit={unit}"), 404, "UNKNOWN_UNIT")


def test_an_export_that_breaks_off_is_not_taken_for_whole(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database goes away after the first page: the answer never ends well. Before that page it is a plain 503."""
    for _ in range(4):
        door.charge()
    monkeypatch.setattr(exports, "PAGE_LINES", 2)
    read, pages = statements.onward, iter([True, False])

    def once(*where: Any, **terms: Any) -> Any:
        if not next(pages):
            raise errors.ServiceUnavailable("away")
        return read(*where, **terms)

    monkeypatch.setattr(statements, "onward", once)
    with httpx.Client(headers=door.client.headers) as client:
        where = f"{door.url}/api/v1/billing/export/transactions?customer=ann"
        with capture_logs() as told, pytest.raises(httpx.RemoteProtocolError):
            client.get(where)
        [line] = [each for each in told if each["event"] == "broke off"]
        assert ("warning", "away") == (line["log_level"], line["detail"])
        assert "unforeseen" not in {each["event"] for each in told}
        pages = iter([False])
        problem(client.get(where), 503, "SERVICE_UNAVAILABLE")
