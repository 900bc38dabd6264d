"""The audit of histories in which nothing is wrong, and of a database that is being written to."""

import pathlib
import threading
import time

from tallystick.core.ids import to_text
from tallystick.services.context import SYSTEM
from tallystick.services.pricing import Usage
from tallystick.store.audit import audit
from tallystick.store.engine import Database
from tests.store.history import History, live, open_history


def test_x(database_url, tmp_path):
    h = open_history(database_url, tmp_path)
    live(h)
    r = audit(h.tally.database, now=h.clock.now)
    for rule in r.rules:
        print(rule.number, rule.name, rule.checked, rule.count)
        for v in rule.violations: print("    ", v)
    s=time.perf_counter(); audit(h.tally.database); print(time.perf_counter()-s, r.transactions)
    h.tally.close()
    assert r.ok
