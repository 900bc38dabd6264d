"""``python -m tests.simulation --seed 1 --ops 10000``: run the ledger against its model, and say how it went.

With ``--seeds N`` it runs N seeds, the first one being ``--seed``, and stops at the first finding.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from tallystick.store.engine import migrate
from tests.postgres import temporary_database, temporary_postgres
from tests.simulation.run import SimulationFailed, simulate


@contextmanager
def databases(kind: str) -> Iterator[Iterator[str]]:
    """Migrated databases without rows, one after the other; each is gone when the next is asked for."""
    with tempfile.TemporaryDirectory(prefix="tally-simulation-") as name:
        if kind == "sqlite":
            yield _sqlite_files(Path(name))
        else:
            settings = {"fsync": "off", "synchronous_commit": "off"}
            with temporary_postgres(settings) as server, closing(_postgres_databases(server)) as urls:
                yield urls


def _sqlite_files(folder: Path) -> Iterator[str]:
    template = folder / "template.db"
    migrate(f"sqlite:///{template}")
    while True:
        run = folder / "run"
        run.mkdir()
        yield f"sqlite:///{shutil.copyfile(template, run / 'tally.db')}"
        shutil.rmtree(run)


def _postgres_databases(server: str) -> Generator[str]:
    with temporary_database(server) as template:
        migrate(template)
        name = template.partition("?")[0].rpartition("/")[2]
        while True:
            with temporary_database(server, template=name) as url:
                yield url


def main() -> int:
    """Run the seeds that were asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds to run")
    parser.add_argument("--ops", type=int, default=10_000, help="operations for each seed")
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--verbose", action="store_true", help="say what happened how often")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    total, started = 0, time.monotonic()
    with databases(options.database) as urls:
        for seed, url in zip(range(options.seed, options.seed + options.seeds), urls, strict=False):
            try:
                report = simulate(seed=seed, operations=options.ops, url=url)
            except SimulationFailed as failure:
                print(failure, file=sys.stderr, flush=True)
                return 1
            total += report.operations
            counts += report.counts
            seconds = time.monotonic() - started
            pace = f"{total} operations so far, {total / seconds:.0f}/s"
            print(f"seed {seed}: {report.operations} operations, digest {report.digest}; {pace}", flush=True)
    if options.verbose:
        for name, count in sorted(counts.items()):
            print(f"{count:9}  {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
