"""The lock in front of SQLite's one writer."""

import threading

from tallystick.store.engine import FairLock


def test_a_lock_that_is_held_is_waited_for_no_longer_than_asked() -> None:
    """Whoever gives up leaves the queue, and the lock goes to the next when it is free."""
    lock = FairLock()
    assert lock.acquire()
    assert not lock.acquire(timeout_seconds=0.01)
    lock.release()
    assert lock.acquire(timeout_seconds=0.01)


def test_a_lock_is_granted_in_the_order_of_asking() -> None:
    """Three that wait get it one after the other."""
    lock, order = FairLock(), []
    lock.acquire()
    threads = []
    for number in range(3):

        def wait(number: int = number) -> None:
            lock.acquire()
            order.append(number)
            lock.release()

        thread = threading.Thread(target=wait)
        thread.start()
        while lock.waiting <= number:
            threading.Event().wait(0.001)
        threads.append(thread)
    lock.release()
    for thread in threads:
        thread.join()
    assert order == [0, 1, 2]
