"""``python -m bench``: measure, show a table, write results.json."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from bench import results
from bench.dashboard import measure_dashboard
from bench.embedded import measure_alone, measure_hot, measure_spread
from bench.growth import measure_growth
from bench.machine import ROOT, describe
from bench.metering import measure_metering
from bench.postgresql import measure_postgresql
from bench.rest import measure_rest
from bench.results import Result
from bench.sandboxes import measure_sandboxes
from bench.settings import Settings
from bench.settlements import measure_settlements
from bench.webhooks import measure_webhooks
from bench.writer_profile import profile_writer

RESULTS = Path(__file__).with_name("results.json")
DOCUMENT = ROOT / "docs" / "performance.md"
BENCHMARKS: dict[str, Callable[[Settings], list[Result]]] = {
    "sqlite": measure_spread,
    "hot": measure_hot,
    "alone": measure_alone,
    "postgresql": measure_postgresql,
    "http": measure_rest,
    "settlements": measure_settlements,
    "growth": measure_growth,
    "metering": measure_metering,
    "webhooks": measure_webhooks,
    "dashboard": measure_dashboard,
    "sandboxes": measure_sandboxes,
}


def main() -> int:
    """Exit status 1 when something could not be measured; a missed target is a finding, not a failure."""
    asked = _arguments()
    folder = os.environ.setdefault("TALLY_BENCH_DIR", ".")
    settings = Settings(folder=folder, with_peers=asked.peers)
    if asked.quick:
        settings = Settings.quick(folder=folder, with_peers=asked.peers)
    if asked.profile:
        profile_writer(settings, engine=asked.profile)
        return 0
    console = Console(width=None if sys.stdout.isatty() else 200)
    machine = describe(folder)
    found: list[Result] = []
    failures: list[dict[str, str]] = []
    for name in asked.only or BENCHMARKS:
        started = time.monotonic()
        try:
            found += BENCHMARKS[name](settings)
        except Exception as error:  # noqa: BLE001 - the other benchmarks are still worth running
            traceback.print_exc()
            failures.append({"name": name, "reason": f"{type(error).__name__}: {error}"})
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr)
    options = {**asdict(settings), "quick": asked.quick}
    del options["folder"]
    content = results.content_of(machine=machine, options=options, results=found, failures=failures)
    results.show(console, content)
    _keep(asked, content)
    return 1 if failures else 0


def _keep(asked: argparse.Namespace, content: results.Figures) -> None:
    """A whole run becomes results.json and the documentation's table; of any other, ``--output`` keeps the figures."""
    if asked.output is not None:
        results.write(asked.output, content)
    elif not asked.quick and not asked.only and asked.peers and not content["failures"]:
        results.write(RESULTS, content)
        results.document(DOCUMENT, content)
    else:
        print("not a whole run: --output FILE keeps its figures", file=sys.stderr)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="seconds in all: shows that everything works, measures nothing"
    )
    parser.add_argument(
        "--only", action="append", choices=sorted(BENCHMARKS), help="this one; may be given more than once"
    )
    parser.add_argument(
        "--without-peers", dest="peers", action="store_false", help="install and run nothing but Tallystick"
    )
    parser.add_argument(
        "--profile", choices=["sqlite", "postgresql"], help="show where the writer's time goes instead"
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="where the figures are written instead of results.json and the documentation",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
