"""The system calls that no process of a sandbox may make, as a filter for the kernel.

It is a list of what is forbidden: what a namespace does not hold back (vsock, keys, other processes' memory), and what only
widens the surface of the kernel. A forbidden call fails with EPERM. Some are said not to exist, so that libraries do
without: ``clone3`` hides its flags in memory, and they fall back to ``clone``; what watches files would tell which programs
the host and other sandboxes run, since their files are the same, and they look again from time to time instead.
"""

from __future__ import annotations

import errno
import struct
from typing import Final, NamedTuple

_ALLOW: Final = 0x7FFF0000
_FAIL: Final = 0x00050000
_KILL: Final = 0x80000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
_X32: Final = 0x40000000
_NAMESPACES: Final = 0x7E020080  # every CLONE_NEW… flag
_FAMILIES: Final = (1, 2, 10, 16)  # Unix, IPv4, IPv6, and netlink, by which libraries list interfaces
_NOTIFY: Final = (1026,)  # F_NOTIFY, which watches folders as inotify does
_TERMINAL_INPUT: Final = (0x5412, 0x541C)  # TIOCSTI and TIOCLINUX

# Calls by name with their numbers on x86_64 and aarch64; -1 where there is none.
_FORBIDDEN: Final = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioperm": (173, -1),
    "iopl": (172, -1),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "mbind": (237, 235),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "modify_ldt": (154, -1),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "set_mempolicy": (238, 237),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
_ABSENT: Final = {
    "clone3": (435, 435),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "inotify_add_watch": (254, 27),
    "inotify_init": (253, -1),
    "inotify_init1": (294, 26),
}
# Without a cgroup nobody would see memory that no process has mapped, and a process could choose more processors.
_FORBIDDEN_UNWATCHED: Final = {
    "memfd_create": (319, 279),
    "msgget": (68, 186),
    "sched_setaffinity": (203, 122),
    "semget": (64, 190),
    "shmget": (29, 194),
}


class _Architecture(NamedTuple):
    """What differs between processors."""

    column: int
    audit: int
    clone: int
    sockets: tuple[int, int]
    ioctl: int
    fcntl: int


_ARCHITECTURES: Final = {
    "x86_64": _Architecture(0, 0xC000003E, 56, (41, 53), 16, 72),
    "aarch64": _Architecture(1, 0xC00000B7, 220, (198, 199), 29, 25),
}
SUPPORTED: Final = tuple(_ARCHITECTURES)


def program(machine: str, *, unwatched: bool) -> bytes:
    """The filter for one of the ``SUPPORTED`` processors; ``unwatched`` where no cgroup holds the memory."""
    arch = _ARCHITECTURES[machine]
    forbidden = {**_FORBIDDEN, **(_FORBIDDEN_UNWATCHED if unwatched else {})}
    denied = _FAIL | errno.EPERM
    lines = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, arch.audit, 1, 0),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
    ]
    if machine == "x86_64":
        lines += [_step(_AT_LEAST, _X32, 0, 1), _step(_RETURN, denied)]
    for calls, answer in ((forbidden, denied), (_ABSENT, _FAIL | errno.ENOSYS)):
        numbers = sorted(each[arch.column] for each in calls.values())
        lines += _never(tuple(number for number in numbers if number >= 0), answer)
    lines += _on_call(arch.clone, [_argument(0), _step(_ANY_BIT, _NAMESPACES, 0, 1), _step(_RETURN, denied)])
    for call in arch.sockets:
        lines += _on_call(call, [_argument(0), *_only(_FAMILIES, denied)])
    lines += _on_call(arch.ioctl, [_argument(1), *_never(_TERMINAL_INPUT, denied)])
    lines += _on_call(arch.fcntl, [_argument(1), *_never(_NOTIFY, denied)])
    lines.append(_step(_RETURN, _ALLOW))
    return b"".join(lines)


def _step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("=HBBI", code, yes, no, value)


def _argument(index: int) -> bytes:
    """Load the lower half of an argument, which is all that the kernel reads of these."""
    return _step(_LOAD, _ARGUMENTS + 8 * index)


def _on_call(number: int, lines: list[bytes]) -> list[bytes]:
    """For one call: these lines, and allowed where none of them decides."""
    lines = [*lines, _step(_RETURN, _ALLOW)]
    return [_step(_EQUAL, number, 0, len(lines)), *lines]


def _only(values: tuple[int, ...], otherwise: int) -> list[bytes]:
    allow = _step(_RETURN, _ALLOW)
    found = [line for value in values for line in (_step(_EQUAL, value, 0, 1), allow)]
    return [*found, _step(_RETURN, otherwise)]


def _never(values: tuple[int, ...], otherwise: int) -> list[bytes]:
    return [line for value in values for line in (_step(_EQUAL, value, 0, 1), _step(_RETURN, otherwise))]
