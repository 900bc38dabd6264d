"""Where the processor's time goes while clients charge: in the thread that posts, and in the one that the clients share."""

from __future__ import annotations

import cProfile
import pstats
import time
from contextlib import ExitStack
from unittest import mock

from bench.settings import Settings
from tallystick import bench_charges
from tallystick.services.group_commit import GroupCommit
from tests.postgres import temporary_database, temporary_postgres

ROWS = 30


def profile_writer(settings: Settings, *, engine: str) -> None:
    """Run the benchmark with both threads under cProfile, and print their functions by their own time.

    It is the thread's processor time: waiting for the disk, the database or the interpreter does not count, so that the
    shares hold on a busy machine too. The profiler makes what is called often look larger than it is.
    """
    writer, clients = cProfile.Profile(time.thread_time), cProfile.Profile(time.thread_time)
    run, drive = GroupCommit._run, bench_charges.drive  # noqa: SLF001 - the thread's own function is profiled
    with ExitStack() as stack:
        url = None
        if engine == "postgresql":
            url = stack.enter_context(temporary_database(stack.enter_context(temporary_postgres())))
        stack.enter_context(mock.patch.object(GroupCommit, "_run", lambda self: writer.runcall(run, self)))
        stack.enter_context(
            mock.patch.object(
                bench_charges, "drive", lambda *args, **how: clients.runcall(drive, *args, **how)
            )
        )
        found = bench_charges.run(
            engine=engine,
            url=url,
            clients=settings.clients,
            seconds=settings.seconds,
            wallets=settings.wallets,
            kind="coroutines",
        )
    print(found)
    for title, profile in (("the posting thread", writer), ("the clients' thread", clients)):
        print(f"\n{title}")
        pstats.Stats(profile).strip_dirs().sort_stats("tottime").print_stats(ROWS)
