"""The benchmarks run and write what was promised; how fast anything was is not looked at."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.results import markdown
from tallystick import bench_charges

ROOT = Path(__file__).parent.parent
MACHINE = {
    "cpu",
    "cores",
    "memory_gib",
    "kernel",
    "python",
    "sqlite",
    "postgresql",
    "load_average",
    "fsync_ms",
    "revision",
}
RESULT = {
    "name",
    "what",
    "figure",
    "unit",
    "beside",
    "beside_figure",
    "ratio",
    "target",
    "met",
    "details",
}
NAMES = [
    "sqlite_threads",
    "sqlite_coroutines",
    "hot_threads",
    "hot_coroutines",
    "alone_threads",
    "alone_coroutines",
    "postgresql_threads",
    "postgresql_coroutines",
    "http_charges",
    "settlements_sqlite_many",
    "settlements_sqlite_one",
    "settlements_postgresql_many",
    "settlements_postgresql_one",
    "growth_speed",
    "growth_memory",
    "growth_balance_service",
    "growth_balance_http",
    "metering_alone",
    "metering_32",
    "metering_remote",
    "webhooks_service",
    "webhooks_http",
    "webhooks_charges",
    "dashboard_pages",
    "sandboxes_create",
    "sandboxes_execute",
    "sandboxes_kill",
    "sandboxes_at_once",
    "sandboxes_in_a_row",
]
WITHOUT_TARGET = {"metering_remote"}
PEERLESS = {"postgresql_threads", "postgresql_coroutines"}
ALONE = {"sandboxes_kill", "sandboxes_at_once", "sandboxes_in_a_row"}


@pytest.mark.slow
def test_the_quick_run_measures_everything_and_writes_it_down(tmp_path: Path) -> None:
    """Every benchmark gives its figure, what it was measured beside, its target, and whether that was met."""
    output = tmp_path / "results.json"
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "bench",
        "--quick",
        "--without-peers",
        "--output",
        output,
    ]
    environment = {**os.environ, "TALLY_BENCH_DIR": str(tmp_path)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stderr

    found = json.loads(output.read_text())
    assert set(found["machine"]) == MACHINE
    assert found["options"]["quick"] is True
    assert [] == found["failures"]
    results = {result["name"]: result for result in found["results"]}
    assert NAMES == list(results)
    for name, result in results.items():
        assert RESULT == set(result)
        assert result["figure"] > 0
        assert result["target"] or name in WITHOUT_TARGET
        assert result["what"] in " ".join(done.stdout.split())
        if name in WITHOUT_TARGET:
            assert result["met"] is None
        elif name in PEERLESS:
            assert (None, None, None) == (result["beside_figure"], result["ratio"], result["met"])
        elif name in ALONE:
            assert (None, None) == (result["beside_figure"], result["ratio"])
            assert isinstance(result["met"], bool)
        else:
            assert result["beside_figure"] > 0
            assert isinstance(result["met"], bool)


@pytest.mark.slow
def test_charges_are_measured_through_the_rest_door_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `http` the same clients charge through a server process, and get figures of the same form."""
    monkeypatch.setenv("TALLY_BENCH_DIR", str(tmp_path))
    found = bench_charges.run(clients=4, seconds=0.3, wallets=5, http=True)
    embedded = {"engine", "clients", "wallets", "batch_mean", "charges_per_s", "p50_ms", "p99_ms", "cpu_s"}
    assert embedded | {"fsync_ms", "kind", "charges", "http"} == set(found)
    http = found["http"]
    assert isinstance(http, dict)
    assert {"clients", "charges", "charges_per_s", "p50_ms", "p99_ms", "load_cpu_s"} == set(http)
    assert http["charges"] > 0
    assert [] == list(tmp_path.iterdir()), "databases were left behind"


def test_the_documentation_shows_the_figures_of_the_last_whole_run() -> None:
    """What docs/performance.md says was measured is what bench/results.json holds, target by target."""
    found = json.loads((ROOT / "bench" / "results.json").read_text())
    assert NAMES == [result["name"] for result in found["results"]]
    assert (False, []) == (found["options"]["quick"], found["failures"])
    assert markdown(found) in (ROOT / "docs" / "performance.md").read_text()


def test_the_peers_are_pinned_by_name_and_version_only() -> None:
    """What the benchmarks install beside us is exactly these versions, from wherever packages come."""
    lines = (ROOT / "bench" / "requirements.txt").read_text().splitlines()
    assert {"credit-ledger==0.3.0", "hf-nostro==0.2.0"} <= set(lines)
    assert [] == [line for line in lines if len(line.split("==")) != len(("name", "version")) or "/" in line]
