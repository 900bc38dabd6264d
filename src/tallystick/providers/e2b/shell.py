"""The lines of shell that run code in a sandbox of E2B.

Its agent runs ``bash -l -c LINE`` and knows of that process alone: it reports -1 for one that a signal ended, and kills no
child of it. So the code runs in a session of its own under a shell that tells its signal as 128 + number, and whatever it
starts inherits a mark in its environment by which all of it is found.
"""

from __future__ import annotations

import shlex
from typing import Final

from tallystick.ports.sandboxes import Command, Language

MARK: Final = "TALLYSTICK_COMMAND"
KILLED: Final = 128 + 9
_LINE_MAX_BYTES: Final = 96 * 1024  # Linux takes 128 KiB for one argument
_PROGRAMS: Final[dict[Language, list[str]]] = {
    "bash": ["bash", "-c", "--"],
    "python": ["python3", "-c"],
    "javascript": ["node"],
}
_FROM_FILE: Final[dict[Language, str]] = {
    "bash": "bash {0} </dev/null",
    "python": "python3 - <{0}",  # so that it runs in the working folder, as it does from a line
    "javascript": "node - <{0}",
}


def line_of(command: Command) -> str | None:
    """The line that runs a command, or None where its code is too long for one."""
    program = _PROGRAMS[command.language]
    code = [f"--eval={command.code}"] if command.language == "javascript" else [command.code]
    line = _watched(f"{shlex.join([*program, *code])} </dev/null")
    return line if len(line.encode(errors="surrogatepass")) <= _LINE_MAX_BYTES else None


def file_of(mark: str) -> str:
    """Where code is put that is too long for a line."""
    return f"/tmp/.tallystick-{mark}"  # noqa: S108 - the sandbox's own


def line_of_file(language: Language, path: str) -> str:
    """The line that runs code out of a file, and removes it."""
    return _watched(_FROM_FILE[language].format(path), after=f"rm -f {path}; ")


def killing(mark: str) -> str:
    """The line that kills whatever carries a mark, and again until nothing is left that could have begun more."""
    return (
        "for round in 1 2 3 4 5; do found=; "
        "for process in /proc/[0-9]*; do "
        f'if grep -qzxF {MARK}={mark} "$process/environ" 2>/dev/null; '
        'then found=1; kill -KILL "${process#/proc/}" 2>/dev/null; fi; '
        'done; [ -n "$found" ] || break; done; '
        f"rm -f {file_of(mark)}"
    )


def _watched(line: str, *, after: str = "") -> str:
    """A shell around a line that keeps its own words about signals out of what the code writes."""
    return f"exec 3>&2 2>/dev/null; setsid {line} 2>&3 3>&-; ended=$?; {after}exit $ended"
