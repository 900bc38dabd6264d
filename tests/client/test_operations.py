"""The operations against a running server: each noun once, as one would use it."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tallystick.client import Also, KeyBudget, NewCharge, TallyClient, TallyError, UnexpectedAnswer
from tests.client.faulty import FaultyServer, raw


def test_several_charges_at_once(client: TallyClient) -> None:
    """Each has its own outcome, and the same list again is the same charges."""
    charges = [
        NewCharge(customer="ann", meter="lookup", also=(Also(meter="tokens", quantity=1000),)),
        NewCharge(customer="ann", meter="none"),
        NewCharge(customer="ann", meter="tiered", quantity=10_000),
    ]
    made, unknown, refused = client.charges.create_batch(charges).results
    assert (201, Decimal("1.0045")) == (made.status, made.unwrap().amount)
    assert made.charge == client.charges.create_batch(charges).results[0].charge
    with pytest.raises(TallyError, match="UNKNOWN_METER"):
        unknown.unwrap()
    with pytest.raises(TallyError) as short:
        refused.unwrap()
    assert Decimal("98.9955") == short.value.available


def test_a_charge_is_explained_and_refunded(client: TallyClient) -> None:
    """The working is typed to the last line."""
    made = client.charges.create(customer="ann", meter="both", quantity=2, metadata={"job": 1.5})
    shown = client.charges.get(made.id)
    assert {"credits": Decimal(1), "USD": Decimal("0.04")} == shown.amounts
    assert {"job": Decimal("1.5")} == shown.metadata
    assert {"credits", "USD"} == {each.unit for each in shown.explain.prices}
    back = client.charges.refund(made.id, amount=1, reason="slow")
    assert [1, 0] == [back.refunded, back.refundable]


def test_numbers_are_the_same_everywhere(client: TallyClient) -> None:
    """In a question too: every digit is sent, a float is refused, and so is what nobody could write out."""
    client.agents.create(name="cheap", price_per_task=Decimal("1E+2"), customer="ann")
    for most, found in ((Decimal("1E+2"), ["cheap"]), ("99.5", []), (100, ["cheap"])):
        assert found == [each.name for each in client.agents.list(max_price=most)]
    with pytest.raises(TypeError, match="Decimal"):
        client.agents.list(max_price=0.1)  # type: ignore[arg-type]
    for giant in ("1E+99999999", "1E-99999999", "0E+99999999"):
        with pytest.raises(ValueError, match="expected a number"):
            client.agents.list(max_price=giant)


def test_nothing_may_be_asked_of_an_agent(client: TallyClient) -> None:
    """None is JSON as well, and not a field that is missing."""
    agent = client.agents.create(name="idle", price_per_task=0, customer="ann")
    client.customers.create(external_id="bob")
    task = client.tasks.create(agent=agent.id, input=None, customer="bob")
    assert client.tasks.get(task.id).input is None


def test_one_text_is_not_several(client: TallyClient) -> None:
    """Its letters would be taken for them."""
    for call in (
        lambda: client.agents.create(name="a", price_per_task=1, customer="ann", capabilities="abc"),
        lambda: client.agents.update("agent_1", capabilities="abc"),
        lambda: client.webhooks.create_endpoint(url="https://x.example", types="abc"),
    ):
        with pytest.raises(TypeError, match="several texts"):
            call()


def test_a_quote_counts_nothing(client: TallyClient) -> None:
    """It says what a charge would be answered."""
    quote = client.quotes.create(customer="ann", meter="limited")
    assert (True, 3) == (quote.affordable, quote.rate_limit and quote.rate_limit.remaining)
    dear = client.quotes.create(customer="ann", meter="tiered", quantity=1000)
    assert (False, "INSUFFICIENT_CREDITS") == (dear.affordable, dear.refused_by)


def test_pages_follow_each_other(client: TallyClient) -> None:
    """A page has its own items, and to iterate over it goes on to the end, from wherever it is."""
    for number in range(5):
        client.charges.create(customer="ann", meter="lookup", description=str(number))
    page = client.billing.get_transactions(customer="ann", limit=2, type="usage")
    assert (["4", "3"], True) == ([each.description for each in page.transactions], page.has_more)
    assert ["4", "3", "2", "1", "0"] == [each.description for each in page]
    rest = client.billing.get_transactions(
        customer="ann", limit=2, type="usage", cursor=page.next_cursor, from_=datetime(2027, 1, 1, tzinfo=UTC)
    )
    assert ["2", "1", "0"] == [each.description for each in rest]


def test_credits_are_given_and_taken_back(client: TallyClient) -> None:
    """Amounts may be texts and decimals; a float is a mistake that is found at once."""
    late = datetime(2027, 2, 1, tzinfo=UTC)
    made = client.grants.create(
        customer="ann", amount="0.5", category="bonus", reason="sorry", expires_at=late
    )
    assert (Decimal("0.5"), late) == (made.amount, made.expires_at)
    assert made.id == next(iter(client.grants.list(customer="ann"))).id
    assert Decimal("0.25") == client.grants.claw_back(made.id, amount=Decimal("0.25")).removed
    assert 100 == client.grants.void(made.id, reason="mistake").available
    with pytest.raises(TypeError, match="Decimal"):
        client.grants.create(customer="ann", amount=0.5, category="bonus")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="zone"):
        client.grants.create(customer="ann", amount=1, category="bonus", expires_at=datetime(2027, 2, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="number"):
        client.grants.create(customer="ann", amount="much", category="bonus")


def test_customers_keys_and_budgets(client: TallyClient) -> None:
    """A service's key with a budget charges until the budget is spent."""
    bob = client.customers.create(external_id="bob 1", metadata={"team": "red"})
    assert bob == client.customers.get("bob 1")
    key = client.keys.create(name="bot", customer=bob.id, budget=KeyBudget(amount=2, per="day"))
    assert key.id in {each.id for each in client.keys.list()}
    with client.with_key(key.key) as bot:
        bot.charges.create(meter="lookup")
        bot.charges.create(meter="lookup")
        with pytest.raises(TallyError, match="BUDGET_EXCEEDED") as spent:
            bot.charges.create(meter="lookup")
        assert spent.value.reset_at is not None
        client.keys.revoke(key.id)
        with pytest.raises(TallyError, match="NOT_AUTHENTICATED"):
            bot.auth.me()
    made = client.budgets.set(level="customer", customer=bob.id, amount=5, per="month")
    assert made.id in {each.id for each in client.budgets.list(customer=bob.id).budgets}
    client.budgets.remove(made.id)
    assert client.customers.freeze(bob.id, reason="look").frozen
    assert not client.customers.thaw(bob.id).frozen
    assert [98, 5] == [each.balance for each in client.customers.explain("bob 1").wallets]


def test_a_price_is_settled_between_customers(client: TallyClient) -> None:
    """Less the fee."""
    client.customers.create(external_id="bob")
    made = client.settlements.create(from_="ann", to="bob", price=20)
    assert [20, 1, 19] == [made.price, made.fee, made.payout]


def test_buying(client: TallyClient) -> None:
    """A page to pay on, what a bank does, the payment, and its refund."""
    page = client.billing.create_checkout("small", customer="ann")
    assert [100, 1] == [page.credits_amount, page.amount]
    assert page.payment in {each.id for each in client.payments.list(all=True)}
    assert "pending" == client.payments.get(page.payment).payment.status
    assert () == client.payments.list_disputes().disputes
    assert () == client.payments.reconcile(since=datetime.now(UTC) - timedelta(days=1)).differences
    with pytest.raises(TallyError, match="NOT_FOUND"):
        client.testing.simulate(page.payment, "dispute")
    with pytest.raises(TallyError, match="INVALID_SIGNATURE"):
        client.payments.receive_event(b"{}", signature="forged")
    with pytest.raises(TallyError):
        client.payments.refund(page.payment)


def test_a_plan_is_changed(client: TallyClient) -> None:
    """An operator sets it directly; a customer is told where to pay first."""
    changed = client.billing.change_tier("pro", customer="ann")
    assert ("pro", "free", None) == (changed.new_tier, changed.previous_tier, changed.checkout_url)
    assert "none" == client.billing.get_subscription(customer="ann").status
    with client.with_key(
        client.auth.register(email="ada@example.test", password="correct horse").token
    ) as ada:
        assert ada.billing.change_tier("pro").checkout_url
        assert ada.billing.get_subscription().checkout_url


def test_webhooks_are_set_up(client: TallyClient) -> None:
    """An endpoint's life."""
    made = client.webhooks.create_endpoint(url="https://example.com/hooks", types=["balance.*"])
    assert made.secret.startswith("whsec_")
    changed = client.webhooks.update_endpoint(made.id, types=(), description="all")
    assert ((), "all", made.url) == (changed.types, changed.description, changed.url)
    assert made.secret != client.webhooks.rotate_secret(made.id).secret
    ping = client.webhooks.ping(made.id)
    assert [ping.id] == [each.id for each in client.webhooks.list_deliveries(endpoint=made.id)]
    assert "pending" == client.webhooks.replay_delivery(ping.id).status
    assert client.webhooks.replay_endpoint(made.id, since=datetime(2027, 1, 1, tzinfo=UTC)).complete
    assert "enabled" == client.webhooks.enable_endpoint(made.id).status
    client.grants.create(customer="ann", amount=1, category="bonus")
    assert "credit_grant.created" in {
        each.type for each in client.webhooks.list_notifications(customer="ann")
    }
    client.webhooks.delete_endpoint(made.id)
    assert () == client.webhooks.list_endpoints().endpoints
    chosen = client.notifications.set_preferences(customer="ann", email=True, types=["balance.low"])
    assert chosen == client.notifications.get_preferences(customer="ann")


def test_files_come_in_pieces(client: TallyClient) -> None:
    """Read whole or piece by piece, and a refusal is a refusal before the first of them."""
    client.charges.create(customer="ann", meter="lookup")
    whole = client.billing.export_transactions(customer="ann").read()
    assert b"lookup" in whole
    with client.billing.export_transactions(customer="ann") as pieces:
        assert whole == b"".join(pieces)
    with pytest.raises(TallyError, match="UNKNOWN_CUSTOMER"):
        client.billing.export_usage(customer="nobody").read()

    async def awaited() -> bytes:
        async with client.awaitable() as tally:
            async with tally.billing.export_transactions(customer="ann") as pieces:
                assert whole == b"".join([piece async for piece in pieces])
            return await tally.billing.export_payments(all=True).read()

    assert b"paid_at" in asyncio.run(awaited())


def test_a_file_that_breaks_off_is_not_taken_for_whole() -> None:
    """Nobody books half a statement."""
    half = raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/csv\r\ncontent-length: 100\r\n\r\nid,date\n")
    page = raw(b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 4\r\n\r\nlog ")
    for step, code in [(half, "ANSWER_INCOMPLETE"), (page, "UNEXPECTED_ANSWER")]:
        with (
            FaultyServer(step) as server,
            TallyClient(base_url=server.url) as client,
            pytest.raises(UnexpectedAnswer, match=code),
        ):
            client.billing.export_transactions().read()


def test_the_clock_and_the_server(client: TallyClient) -> None:
    """What an operator asks."""
    before = client.testing.move_clock(advance="P1D").now
    assert timedelta(days=1) <= client.testing.move_clock(now=before + timedelta(days=1)).now - before
    assert ("ok", "ready") == (client.server.get_health().status, client.server.get_readiness().status)
    assert "tally_" in client.server.get_metrics()
    economy = client.economy.get()
    assert ({"free", "pro", "unlimited"}, 500) == (
        {each.plan for each in economy.plans},
        economy.task_fee.basis_points,
    )
    not_ready = json.dumps({"status": "not ready", "checks": {"database": "away"}}).encode()
    head = b"HTTP/1.1 503 No\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(not_ready)
    with FaultyServer(raw(head + not_ready)) as server, TallyClient(base_url=server.url) as away:
        assert "away" == away.server.get_readiness().checks["database"]
    with pytest.raises(ValueError, match="expected an id"):
        client.customers.get("")
