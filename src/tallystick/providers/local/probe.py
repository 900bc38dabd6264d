"""Proof that a sandbox is one: what a program inside of it sees of itself, beside what is so out here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from tallystick.ports.sandboxes import Command, Execution, SandboxesUnavailable

_NAMESPACES: Final = ("cgroup", "ipc", "mnt", "net", "pid", "user", "uts")
_SCRIPT: Final = r"""
for name in cgroup ipc mnt net pid user uts; do echo "$name=$(readlink /proc/self/ns/$name)"; done
while read -r name value _; do
  case $name in CapEff:|CapBnd:|NoNewPrivs:|Seccomp:) echo "${name%:}=$value";; esac
done < /proc/self/status
interfaces=
while IFS=: read -r name rest; do [ -n "$rest" ] && interfaces="$interfaces${name// /},"; done < <(tail -n +3 /proc/net/dev)
echo "interfaces=$interfaces"
for folder in / /usr /etc /dev /proc; do
  { : > "$folder/.written"; } 2> /dev/null && echo "writable=$folder"
done
unshare --user true 2> /dev/null && echo "unshares=yes"
{ : > /home/user/.written; } && rm /home/user/.written && echo "home=yes"
exit 0
"""
_HELD: Final = {
    "CapEff": "0000000000000000",
    "NoNewPrivs": "1",
    "Seccomp": "2",
    "interfaces": "lo,",
    "home": "yes",
}
_NEVER: Final = ("writable", "unshares")


def prove(execute: Callable[[Command], Execution]) -> str:
    """Say what separates a sandbox from this machine. Raises ``SandboxesUnavailable`` where something does not."""
    done = execute(Command(language="bash", code=_SCRIPT, timeout_seconds=20.0))
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    seen = dict(line.split("=", 1) for line in lines if "=" in line)
    wrong = [
        name
        for name in _NAMESPACES
        if seen.get(name, "") in {"", str(Path(f"/proc/self/ns/{name}").readlink())}
    ]
    wrong += [name for name, value in _HELD.items() if seen.get(name) != value]
    wrong += [name for name in _NEVER if name in seen]
    if done.exit_code != 0 or wrong:
        raise SandboxesUnavailable(
            f"a sandbox that was tried is not kept apart from this machine ({', '.join(wrong) or 'it failed'}): "
            "use bubblewrap 0.8 or newer, and Linux 5.10 or newer"
        )
    return (
        "bubblewrap: namespaces of its own for users, processes, mounts, network, IPC, names and groups; no rights, a "
        "filter of system calls, read-only programs, and nothing else of the machine"
    )


def advice(detail: str) -> str:
    """What to install or to set where no sandbox starts, by what was said."""
    text = detail.lower()
    if "unknown option" in text:
        return f"bubblewrap is too old, and 0.8 or newer is needed: {detail}"
    if any(
        word in text
        for word in ("namespace", "uid map", "operation not permitted", "permission denied", "no space")
    ):
        return (
            f"this machine forbids what sandboxes are made of ({detail}): allow user namespaces to ordinary users. "
            "On Ubuntu 24.04 an AppArmor profile for bwrap does, or kernel.apparmor_restrict_unprivileged_userns=0; "
            "elsewhere user.max_user_namespaces and kernel.unprivileged_userns_clone; in a container, its seccomp profile"
        )
    return f"a sandbox that was tried does not start: {detail}"
