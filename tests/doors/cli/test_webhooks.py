"""`tally webhooks`: against a real server, with its worker and a real receiver."""

from collections.abc import Iterator

import pytest

from tests.doors.api.door import wait_until
from tests.doors.cli.program import Program
from tests.receivers import Receiver, answering


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Somebody who listens."""
    with Receiver() as receiver:
        yield receiver


def test_an_endpoint_is_managed_and_the_worker_sends(
    admin: Program, customer: str, receiver: Receiver
) -> None:
    """From creation to deletion, as a person and as a program sees it."""
    made = admin.ask("webhooks", "create", receiver.url, "--customer", customer, "--type", "credit_grant.*")
    name = made["id"]
    admin.ask("webhooks", "ping", name)
    admin.ask("grants", "create", customer, "5", "--category", "bonus")
    wait_until(lambda: len(receiver.received) == 2)
    assert {"ping", "credit_grant.created"} == {event["type"] for event in receiver.events(made["secret"])}
    wait_until(
        lambda: (
            "delivered" == admin.ask("webhooks", "deliveries", "--endpoint", name)["deliveries"][0]["status"]
        )
    )

    shown = admin.show("webhooks", "list", "--customer", customer)
    assert all(text in shown for text in (name, "enabled", "credit_grant.*"))
    assert "credit_grant.created" in admin.show("webhooks", "notifications", "--customer", customer)
    shown = admin.show("webhooks", "deliveries", "--customer", customer, "--status", "delivered")
    assert all(text in shown for text in ("whd_", name))

    rotated = admin.show("webhooks", "rotate", name)
    assert "whsec_" in rotated
    assert "not shown again" in rotated
    assert [] == admin.ask("webhooks", "update", name, "--all-types")["types"]
    admin.show("webhooks", "enable", name)
    assert "1 events are sent again" in admin.show("webhooks", "replay", name, "--after", "0")
    wait_until(lambda: len(receiver.received) == 3)
    [delivery, *_] = admin.ask("webhooks", "deliveries", "--endpoint", name)["deliveries"]
    admin.show("webhooks", "replay", delivery["id"])
    wait_until(lambda: len(receiver.received) == 4)
    assert f"Deleted {name}" in admin.show("webhooks", "delete", name)
    assert "not_found" in admin.refused("webhooks", "ping", name)


def test_a_failure_is_shown_with_what_was_answered(admin: Program, customer: str, receiver: Receiver) -> None:
    """And when it is tried again."""
    receiver.answer = answering(500)
    made = admin.ask("webhooks", "create", receiver.url, "--customer", customer)
    admin.ask("webhooks", "ping", made["id"])
    wait_until(
        lambda: admin.ask("webhooks", "deliveries", "--endpoint", made["id"])["deliveries"][0]["last_error"]
    )
    shown = admin.show("webhooks", "deliveries", "--endpoint", made["id"], "--status", "pending")
    assert "answered 500" in shown
