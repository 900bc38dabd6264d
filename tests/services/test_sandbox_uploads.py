"""Files that are put into sandboxes: each once by its key, whatever is repeated, lost or interrupted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from threading import Barrier, Thread

import pytest

from tallystick.core import errors
from tallystick.core.amounts import MICROS
from tallystick.ports import OutcomeUnknown
from tallystick.services.sandbox_bills import SandboxBills
from tallystick.services.sandbox_postings import SandboxPostings
from tests.services.yard import Yard

HAD, PRICE = 355, 2  # credits, after a sandbox was made


class _KilledError(BaseException):
    """The process ends here."""


@pytest.fixture
def yard(database_url: str, tmp_path: Path) -> Iterator[Yard]:
    """A yard."""
    with Yard(database_url, tmp_path) as yard:
        yield yard


def put(yard: Yard, sandbox: str, content: bytes = b"1", *, key: str | None = "k", path: str = "a") -> bool:
    """Put a file in; gives whether that was a repeat."""
    runs = yard.tally.sandbox_runs
    return runs.write_file(yard.ann, sandbox, path, content, idempotency_key=key).replayed


def files(yard: Yard, sandbox: str) -> dict[str, bytes]:
    """What is in it."""
    handle = yard.row(sandbox).handle
    assert handle is not None
    return yard.provider.boxes[handle].files


def left(yard: Yard, uploads: int) -> None:
    """Exactly so many were paid for, and nothing is held."""
    assert ((HAD - uploads * PRICE) * MICROS, 0) == (yard.available("rUv"), yard.world.balance("rUv").held)


def test_a_repeat_writes_nothing_and_costs_nothing(yard: Yard) -> None:
    """Also when the file has changed since, and when the sandbox has ended; without a key each is one of its own."""
    sandbox = yard.make()
    assert not put(yard, sandbox)
    assert not put(yard, sandbox, b"2", key="another")
    assert put(yard, sandbox)
    assert {"a": b"2"} == files(yard, sandbox)
    left(yard, 2)
    assert [False, False] == [put(yard, sandbox, key=None) for _ in range(2)]
    left(yard, 4)
    yard.tally.sandboxes.stop(yard.ann, sandbox)
    assert put(yard, sandbox)
    with pytest.raises(errors.SandboxNotRunning):
        put(yard, sandbox, key="late")
    left(yard, 4)


def test_a_key_with_another_file_is_refused(yard: Yard) -> None:
    """Another content, another path, or another sandbox: nothing is written. A key that is empty is none."""
    sandbox, other = yard.make(), yard.make()
    put(yard, sandbox)
    changes = [(sandbox, b"2", "a"), (sandbox, b"1", "b"), (other, b"1", "a")]
    for where, content, path in changes:
        with pytest.raises(errors.IdempotencyKeyReused):
            put(yard, where, content, path=path)
    with pytest.raises(errors.IdempotencyKeyRequired):
        put(yard, sandbox, key="")
    assert ({"a": b"1"}, {}) == (files(yard, sandbox), files(yard, other))


def test_one_that_was_not_carried_out_leaves_its_key_free(yard: Yard) -> None:
    """Nobody answered: nothing is charged or held, and a repeat does it."""
    sandbox = yard.make()
    yard.provider.faults = [OutcomeUnknown("no answer")]
    with pytest.raises(errors.SandboxFailed):
        put(yard, sandbox)
    left(yard, 0)
    assert not put(yard, sandbox)
    left(yard, 1)


def test_repeats_at_the_same_time_have_one_effect(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """One writes; the others are told to wait, or that it is done."""
    sandbox, together, write = yard.make(), Barrier(8), yard.provider.write_file
    written: list[bytes] = []
    outcomes: list[str] = []

    def counted(handle: str, path: str, content: bytes) -> None:
        written.append(content)
        write(handle, path, content)

    def attempt() -> None:
        together.wait()
        try:
            outcomes.append("repeat" if put(yard, sandbox) else "first")
        except errors.IdempotencyInFlight:
            outcomes.append("in flight")

    monkeypatch.setattr(yard.provider, "write_file", counted)
    threads = [Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (8, 1, [b"1"]) == (len(outcomes), outcomes.count("first"), written)
    left(yard, 1)


def test_nothing_is_written_by_a_repeat_while_the_first_is_underway(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same file waits, another one is refused, and one price is held."""
    sandbox, write = yard.make(), yard.provider.write_file

    def slow(handle: str, path: str, content: bytes) -> None:
        with pytest.raises(errors.IdempotencyInFlight):
            put(yard, sandbox)
        with pytest.raises(errors.IdempotencyKeyReused):
            put(yard, sandbox, b"2")
        assert PRICE * MICROS == yard.world.balance("rUv").held
        write(handle, path, content)

    monkeypatch.setattr(yard.provider, "write_file", slow)
    put(yard, sandbox)
    left(yard, 1)


def test_a_price_that_could_not_be_captured_is_charged_by_the_repeat(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is there and the transaction failed: its key is free at once."""
    sandbox = yard.make()

    def fail(*_: object, **__: object) -> None:
        raise errors.ServiceUnavailable("the database is away")

    with monkeypatch.context() as patch:
        patch.setattr(SandboxBills, "capture", fail)
        with pytest.raises(errors.ServiceUnavailable):
            put(yard, sandbox)
    left(yard, 0)
    assert not put(yard, sandbox)
    left(yard, 1)


def test_one_whose_process_died_before_it_was_charged_is_charged_once(
    yard: Yard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until another has found it, a repeat waits; then its price is free, and the repeat is charged once."""
    sandbox = yard.make(timeout=3600)

    def killed(*_: object, **__: object) -> None:
        raise _KilledError

    with monkeypatch.context() as patch:
        patch.setattr(SandboxBills, "capture", killed)
        patch.setattr(SandboxPostings, "release", killed)
        with pytest.raises(_KilledError):
            put(yard, sandbox)
    assert {"a": b"1"} == files(yard, sandbox)
    with pytest.raises(errors.IdempotencyInFlight):
        put(yard, sandbox)
    yard.replace_process()
    left(yard, 0)
    assert not put(yard, sandbox)
    assert put(yard, sandbox)
    left(yard, 1)


def test_one_that_another_process_gave_up_says_so(yard: Yard, monkeypatch: pytest.MonkeyPatch) -> None:
    """This one was silent for too long: it is charged for nothing, also where a repeat has done it since."""
    sandbox, write = yard.make(timeout=3600), yard.provider.write_file
    other = yard.world.open()

    def silence(handle: str, path: str, content: bytes) -> None:
        monkeypatch.setattr(yard.provider, "write_file", write)
        yard.pass_time(70, keep=False)
        other.sandbox_keeper.run_once()
        assert not other.sandbox_runs.write_file(
            yard.ann, sandbox, path, content, idempotency_key="k"
        ).replayed
        write(handle, path, content)

    other.sandbox_keeper.run_once()
    monkeypatch.setattr(yard.provider, "write_file", silence)
    with pytest.raises(errors.SandboxFailed, match="held up while this was written"):
        put(yard, sandbox)
    other.close()
    assert put(yard, sandbox)
    left(yard, 1)
