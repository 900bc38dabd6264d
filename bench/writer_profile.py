"""Where the time of the thread goes that posts every charge, while clients keep it busy."""

from __future__ import annotations

import cProfile
import pstats
from contextlib import ExitStack

from bench.settings import Settings
from tallystick import bench_charges
from tallystick.services.group_commit import GroupCommit
from tests.postgres import temporary_database, temporary_postgres

ROWS = 40


def profile_writer(settings: Settings, *, engine: str) -> None:
    """Run the benchmark with the group commit's thread under cProfile; print its functions by their own time.

    The profiler makes Python's part look larger than it is, so that only shares are worth reading, not rates.
    """
    profile = cProfile.Profile()
    run = GroupCommit._run  # noqa: SLF001 - the thread's own function is what is to be profiled

    def profiled(self: GroupCommit) -> None:
        profile.runcall(run, self)

    with ExitStack() as stack:
        url = None
        if engine == "postgresql":
            url = stack.enter_context(temporary_database(stack.enter_context(temporary_postgres())))
        GroupCommit._run = profiled  # type: ignore[method-assign] # noqa: SLF001 - as above
        try:
            found = bench_charges.run(
                engine=engine,
                url=url,
                clients=settings.clients,
                seconds=settings.seconds,
                wallets=settings.wallets,
                kind="coroutines",
            )
        finally:
            GroupCommit._run = run  # type: ignore[method-assign] # noqa: SLF001 - as above
    print(found)
    pstats.Stats(profile).sort_stats("tottime").print_stats(ROWS)
