"""What must hold after whatever happened: each request is in the ledger exactly once, or it never was there."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import closing
from urllib.parse import quote

import sqlalchemy as sa

from tallystick.core.ids import from_text
from tallystick.services.audit import audit
from tallystick.store.engine import Database
from tallystick.store.schema import transactions
from tests.chaos.clients import Attempt, Client
from tests.chaos.hammer import CUSTOMERS, START_CREDITS

PATIENCE_SECONDS = 30
REPEATED = 60  # of the acknowledged requests, so many are sent again as well


def journal(url: str) -> dict[str, int]:
    """The id of the transaction of each idempotency key; a key that stands there twice fails the test."""
    with closing(Database(url, pool_size=1)) as database, database.read() as connection:
        query = sa.select(transactions.c.idempotency_key, transactions.c.id)
        rows = connection.execute(query.where(transactions.c.idempotency_key.is_not(None))).all()
    twice = [key for key, count in Counter(key for key, _ in rows).items() if count > 1]
    assert [] == twice
    return {key: number for key, number in rows}  # noqa: C416 - rows are not plain tuples


def check_audit(url: str) -> None:
    """Every rule of the ledger holds."""
    with closing(Database(url, pool_size=1)) as database:
        report = audit(database)
    assert report.ok, [rule for rule in report.rules if rule.count]


def check_acknowledged(attempts: Iterable[Attempt], stored: dict[str, int]) -> None:
    """What was acknowledged is there under its id, and what was refused is not there."""
    for attempt in attempts:
        if attempt.is_done:
            assert stored.get(attempt.key) in ids_of(attempt.answer), attempt
        elif not attempt.is_unknown:
            assert attempt.key not in stored, attempt


def ids_of(answer: dict[str, object]) -> set[int | None]:
    """The ids that an answer names: a charge's, a hold's or a grant's are the number of a transaction."""
    texts = [value for value in answer.values() if isinstance(value, str)]
    return {from_text(text.partition("_")[0], text) for text in texts if "_" in text}


def repeat(port: int, attempts: list[Attempt], stored: dict[str, int]) -> None:
    """Send again, with the same keys: what was there is answered as it was, what was not there is done now."""
    with Client(port) as client:
        for attempt in attempts:
            status, answer, replayed = client.send("POST", attempt.path, attempt.body, key=attempt.key)
            assert status in {200, 201}, (attempt, status, answer)
            assert (attempt.key in stored) == replayed, attempt
            if replayed:
                assert stored[attempt.key] in ids_of(answer), (attempt, answer)
            if attempt.is_done:
                assert (attempt.status, attempt.answer) == (status, answer)
            attempt.status, attempt.answer = status, answer


def check_all(url: str, port: int, attempts: list[Attempt]) -> None:
    """Everything at once: what clients were told, what the journal has, repeats, balances and the audit."""
    strange = [each for each in attempts if not each.is_done and not each.is_unknown]
    assert [] == strange[:3]
    stored = journal(url)
    check_acknowledged(attempts, stored)
    unknown = [each for each in attempts if each.is_unknown]
    done = [each for each in attempts if each.is_done]
    in_threads([lambda some=unknown[n::4]: repeat(port, some, stored) for n in range(4)])  # type: ignore[misc]
    repeat(port, done[:: max(len(done) // REPEATED, 1)], stored)
    starts = {f"start {name}" for name in CUSTOMERS}
    assert starts | {each.key for each in attempts} == set(journal(url))
    check_balances(port, attempts)
    check_audit(url)


def check_balances(port: int, attempts: list[Attempt]) -> None:
    """Each customer has what its requests come to, each of them once."""
    captured = {each.path.split("/")[2] for each in attempts if each.kind == "capture"}
    balance, held = dict.fromkeys(CUSTOMERS, START_CREDITS), dict.fromkeys(CUSTOMERS, 0)
    for each in attempts:
        if each.kind == "grant":
            balance[each.customer] += each.amount
        elif each.kind in {"charge", "capture"}:
            balance[each.customer] -= each.amount
        elif each.kind == "hold" and each.answer["id"] not in captured:
            held[each.customer] += each.amount

    def found() -> dict[str, tuple[int, int]]:
        with Client(port) as client:
            answers = {
                name: client.ask("GET", f"/billing/balance?customer={quote(name)}") for name in CUSTOMERS
            }
        return {name: (answer["balance"], answer["held"]) for name, answer in answers.items()}

    expected = {name: (balance[name], held[name]) for name in CUSTOMERS}
    # Brief holds that were made by a repeat end within a second or two.
    wait_until(lambda: expected == found(), lambda: f"expected {expected}\nfound    {found()}")


def wait_until(true: Callable[[], bool], message: Callable[[], str] = lambda: "it did not happen") -> None:
    """Look again and again until it is so, with an end."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not true():
        assert time.monotonic() < deadline, message()
        time.sleep(0.05)


def in_threads(works: list[Callable[[], object]]) -> None:
    """Do all at the same moment, and raise what the first of them raises."""
    broken: list[BaseException] = []
    together = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        try:
            together.wait()
            work()
        except BaseException as error:  # noqa: BLE001 - told below
            broken.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if broken:
        raise broken[0]
