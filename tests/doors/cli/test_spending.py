"""What things cost, charging, holding, and reading what became of it."""

from decimal import Decimal

from tests.doors.cli.program import Program


def test_prices_are_shown_to_everybody(visitor: Program) -> None:
    """The rate card needs no key; small prices keep every digit."""
    shown = visitor.show("prices")
    assert "0.0000045 credits each" in shown
    assert "calls an hour" in shown
    assert "lookup" in [meter["meter"] for meter in visitor.ask("prices")["meters"]]


def test_a_charge_says_what_it_drew(admin: Program, customer: str) -> None:
    """The amount, the grants it came from, and what is left."""
    shown = admin.show("charge", "lookup", "--customer", customer, "--description", "one look")
    assert "Charged 1 credit for 1 × lookup." in shown
    assert "grant_" in shown
    assert "99" in shown
    charged = admin.ask("charge", "tokens", "--customer", customer, "--quantity", "1000000")
    assert (Decimal("4.5"), Decimal("94.5")) == (charged["amount"], charged["available"])


def test_a_charge_takes_all_its_options(admin: Program, customer: str) -> None:
    """Agent, description, metadata and further meters arrive; several units are one charge."""
    options = ["--agent", "bot", "--description", "a = b", "--metadata", "job=a=b", "--metadata", "n=1"]
    further = ["--also", "disk=1", "--also", "lookup=2"]
    charged = admin.ask("charge", "lookup", "--customer", customer, *options, *further)
    assert {"credits": 2, "USD": Decimal("0.25")} == charged["amounts"]
    explained = admin.ask("explain", charged["id"])
    assert ("bot", "a = b", {"job": "a=b", "n": "1"}) == (
        explained["agent"],
        explained["description"],
        explained["metadata"],
    )
    assert "and 0.25 USD" in admin.show("charge", "lookup", "--customer", customer, "--also", "disk=1")


def test_a_key_of_ones_own_charges_once(admin: Program, customer: str) -> None:
    """A repeat gives the first answer, and another request with the same key is refused."""
    request = ["charge", "lookup", "--customer", customer, "--idempotency-key", f"{customer}-1"]
    assert admin.ask(*request) == admin.ask(*request)
    assert "idempotency_key_reused" == admin.problem(*request, "--quantity", "2")["code"]
    assert 99 == admin.ask("ruv", "balance", "--customer", customer)["credits"]
    for bad in ("", "ü", "x" * 256, "a\nb"):
        assert 2 == admin.call("charge", "lookup", "--idempotency-key", bad).exit_code


def test_a_refusal_is_readable(admin: Program, customer: str) -> None:
    """People are told the code, the figures and what to do; programs get the same in fields."""
    told = admin.refused("charge", "tokens", "--quantity", "100000000", "--customer", customer)
    assert "refused: insufficient_credits" in told
    assert "450 credits needed, 100 credits available" in told
    assert "What to do: Add credits" in told
    problem = admin.problem("charge", "tokens", "--quantity", "100000000.5", "--customer", customer)
    assert "insufficient_credits" == problem["code"]
    assert (Decimal("450.000003"), 100) == (problem["required"], problem["available"])
    assert problem["what_to_do"]


def test_refusals_name_the_field_or_the_name(admin: Program, customer: str) -> None:
    """A misspelt meter, an unknown customer, an impossible quantity."""
    assert "did you mean lookup?" in admin.refused("charge", "lokup", "--customer", customer)
    assert "unknown_customer" == admin.problem("charge", "lookup", "--customer", "nobody")["code"]
    for quantity in ("0", "-1", "0.0000001", "1e400", "99999999999999999999"):
        problem = admin.problem("charge", "lookup", "--customer", customer, "--quantity", quantity)
        assert ("invalid_quantity", "quantity") == (problem["code"], problem["errors"][0]["field"])
    assert 100 == admin.ask("ruv", "balance", "--customer", customer)["credits"]


def test_an_hourly_limit_is_told(admin: Program, customer: str) -> None:
    """How many calls are left, and afterwards when to come back."""
    assert "calls left 2 " in " ".join(admin.show("charge", "limited", "--customer", customer).split())
    for _ in range(2):
        admin.ask("charge", "limited", "--customer", customer)
    problem = admin.problem("charge", "limited", "--customer", customer)
    assert ("rate_limited", True) == (problem["code"], problem["retryable"])


def test_a_quote_draws_nothing(admin: Program, customer: str) -> None:
    """The price and whether it could be paid, in people's words too."""
    where = ["--customer", customer, "--also", "disk=1"]
    quoted = admin.ask("quote", "tokens", "--quantity", "100000000", *where)
    assert ({"credits": 450, "USD": Decimal("0.25")}, False) == (quoted["amounts"], quoted["affordable"])
    shown = admin.show("quote", "limited", "--customer", customer)
    assert "affordable" in shown
    assert "yes" in shown
    assert 100 == admin.ask("ruv", "balance", "--customer", customer)["credits"]


def test_a_refund_goes_back(admin: Program, customer: str) -> None:
    """In part, then the rest, then nothing more."""
    charge = admin.ask("charge", "tokens", "--quantity", "1000000", "--customer", customer)["id"]
    assert "Refunded" in admin.show("refund", charge, "--amount", "1.5", "--reason", "slow")
    rest = admin.ask("refund", charge)
    assert (3, 0) == (rest["refunded"], rest["refundable"])
    assert "exceeds_refundable" == admin.problem("refund", charge, "--amount", "1")["code"]
    assert 100 == admin.ask("ruv", "balance", "--customer", customer)["credits"]


def test_a_charge_explains_itself(admin: Program, customer: str) -> None:
    """Its price, its grants, its refunds, and that nobody edited it."""
    charge = admin.ask("charge", "tokens", "--quantity", "1000000", "--customer", customer)["id"]
    admin.ask("refund", charge, "--amount", "0.5", "--reason", "sorry")
    shown = admin.show("explain", charge)
    for words in (
        "0.0000045 credits each",
        "1,000,000",
        "4.5",
        "0.5 credits",
        "sorry",
        "nobody edited it",
    ):
        assert words in shown
    assert 2 == admin.call("explain", charge, "--at", "2026-01-01T00:00:00Z").exit_code
    assert "not_found" == admin.problem("explain", "chg_0000000000000")["code"]


def test_a_balance_as_of_a_moment(admin: Program, customer: str) -> None:
    """Before the customer there was nothing; after a charge there are the grants with the rest."""
    admin.ask("charge", "lookup", "--customer", customer)
    assert {99, 5} == {wallet["balance"] for wallet in admin.ask("explain", customer)["wallets"]}
    assert "Welcome" in admin.show("explain", customer)
    then = admin.ask("explain", customer, "--at", "2020-01-01T00:00:00Z")
    assert {0} == {wallet["balance"] for wallet in then["wallets"]}
    assert "validation_failed" == admin.problem("explain", customer, "--at", "yesterday")["code"]


def test_a_hold_is_captured_in_part(admin: Program, customer: str) -> None:
    """What was used is drawn, the rest is back; what has ended cannot be released."""
    held = admin.ask("holds", "create", "--meter", "tokens", "--quantity", "1000000", "--customer", customer)
    assert (Decimal("4.5"), Decimal("95.5")) == (held["amount"], held["available"])
    assert "open" in admin.show("holds", "list", "--customer", customer)
    ended = admin.ask("holds", "capture", held["id"], "--quantity", "500000")
    assert (Decimal("2.25"), Decimal("97.75")) == (ended["captured"], ended["available"])
    told = admin.refused("holds", "release", held["id"])
    assert "hold_not_open" in told
    assert [] == admin.ask("holds", "list", "--customer", customer, "--status", "open")["holds"]


def test_a_hold_of_an_amount_is_released(admin: Program, customer: str) -> None:
    """All of it comes back; a hold needs a meter or an amount."""
    terms = ["--amount", "2.5", "--unit", "USD", "--expires-in", "60"]
    shown = admin.show("holds", "create", *terms, "--customer", customer)
    assert "Held 2.5 USD." in shown
    hold = admin.ask("holds", "list", "--customer", customer)["holds"][0]["id"]
    assert "Released" in admin.show("holds", "release", hold)
    assert 5 == admin.ask("billing", "balance", "--unit", "USD", "--customer", customer)["available"]
    assert "validation_failed" == admin.problem("holds", "create", "--customer", customer)["code"]


def test_balances_agree_wherever_they_are_shown(admin: Program, customer: str) -> None:
    """One figure in `ruv`, `billing` and `explain`."""
    admin.ask("charge", "tokens", "--quantity", "1000000", "--customer", customer)
    admin.ask("holds", "create", "--amount", "10", "--customer", customer)
    short = admin.ask("ruv", "balance", "--customer", customer)
    full = admin.ask("billing", "balance", "--customer", customer)
    assert (Decimal("95.5"), 10, 0, Decimal("4.5")) == tuple(
        short[name] for name in ("credits", "pending", "earned_total", "spent_total")
    )
    assert short["credits"] == full["balance"] == full["available"] + full["held"] - full["debt"]
    shown = admin.show("billing", "balance", "--customer", customer)
    assert "95.5" in shown
    assert "85.5" in shown
    assert "initial_grant, free" in shown


def test_a_low_balance_is_warned_of(admin: Program, customer: str) -> None:
    """Below the economy's threshold both balances say so."""
    admin.ask("charge", "lookup", "--customer", customer)
    assert "Low balance" not in admin.show("ruv", "balance", "--customer", customer)
    admin.ask("charge", "tokens", "--quantity", "20000001", "--customer", customer)
    for noun in ("ruv", "billing"):
        assert "Low balance: less than 10 credits" in admin.show(noun, "balance", "--customer", customer)


def test_history_is_paged(admin: Program, customer: str) -> None:
    """The cursor that is shown gives the next page; a made-up one is refused."""
    for _ in range(3):
        admin.ask("charge", "lookup", "--customer", customer)
    page = admin.ask("billing", "history", "--customer", customer, "--limit", "2")
    assert [97, 98] == [line["balance_after"] for line in page["transactions"]]
    cursor = page["next_cursor"]
    assert f"--cursor {cursor}" in admin.show("billing", "history", "--customer", customer, "--limit", "2")
    rest = admin.ask("billing", "history", "--customer", customer, "--limit", "2", "--cursor", cursor)
    assert ([99, 100], False) == ([line["balance_after"] for line in rest["transactions"]], rest["has_more"])
    assert (
        "invalid_cursor"
        == admin.problem("billing", "history", "--customer", customer, "--cursor", "x")["code"]
    )
    assert 2 == admin.call("billing", "history", "--limit", "101").exit_code


def test_history_is_filtered(admin: Program, customer: str) -> None:
    """By type, by time and by unit; the short form shows the meter's category."""
    admin.ask("charge", "lookup", "--customer", customer)
    whole = ["billing", "history", "--customer", customer]
    assert ["usage"] == [line["type"] for line in admin.ask(*whole, "--type", "usage")["transactions"]]
    assert [] == admin.ask(*whole, "--to", "2020-01-01T00:00:00Z")["transactions"]
    assert 2 == len(admin.ask(*whole, "--from", "2020-01-01T00:00:00Z")["transactions"])
    assert [5] == [line["amount"] for line in admin.ask(*whole, "--unit", "USD")["transactions"]]
    shown = admin.show("ruv", "history", "--customer", customer)
    assert " data " in shown
    assert " -1 " in shown


def test_usage_adds_up(admin: Program, customer: str) -> None:
    """By day and by meter; a customer who did nothing has nothing to show."""
    assert "nothing was spent" in admin.show("billing", "usage", "--customer", customer, "--period", "7d")
    admin.ask("charge", "lookup", "--customer", customer, "--also", "tokens=1000000")
    usage = admin.ask("billing", "usage", "--customer", customer, "--period", "7d")
    assert {"lookup": 1, "tokens": Decimal("4.5")} == usage["totals"]["by_meter"]
    assert "5.5" in admin.show("billing", "usage", "--customer", customer)
    assert 2 == admin.call("billing", "usage", "--period", "8d").exit_code


def test_nothing_of_one_customer_is_anothers(admin: Program, customer: str, visitor: Program) -> None:
    """A user sees another's customer, charge and hold as if they did not exist."""
    charge = admin.ask("charge", "lookup", "--customer", customer)["id"]
    hold = admin.ask("holds", "create", "--amount", "1", "--customer", customer)["id"]
    visitor.ask("auth", "register", "-e", f"{customer}@example.test", "-p", "correct horse")
    assert "unknown_customer" == visitor.problem("ruv", "balance", "--customer", customer)["code"]
    assert "not_found" == visitor.problem("explain", charge)["code"]
    assert "not_found" == visitor.problem("holds", "release", hold)["code"]
    assert "not_allowed" == visitor.problem("refund", charge)["code"]
