"""Building templates: packages are installed once, here, and are read-only in every sandbox that starts from them.

Only finished packages are installed: wheels, and npm packages without running their scripts. So nothing of theirs runs on
this machine, outside of a sandbox. A template appears when it is complete, and not at all when its building fails.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeAlias

from tallystick.providers.local.images import NAME, built_in, find_program

Progress: TypeAlias = Callable[[str, int, int], None]
# Names as pip and npm have them, with extras and versions. A path, an address or an archive would be installed from wherever
# it points to, with whatever runs when it is built; what begins with a dash would be an option.
_WORD: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VERSION: Final = r"(?:===?|~=|!=|<=?|>=?) *[A-Za-z0-9][A-Za-z0-9._*+!-]*"
_PIP: Final = re.compile(rf"{_WORD}(?: *\[{_WORD}(?:, *{_WORD})*\])? *(?:{_VERSION}(?: *, *{_VERSION})*)?")
_NPM: Final = re.compile(
    r"(?:@[A-Za-z0-9][A-Za-z0-9._~-]*/)?[A-Za-z0-9][A-Za-z0-9._~-]*(?:@[A-Za-z0-9^~<>=*][A-Za-z0-9.^~<>=*|+ -]*)?"
)
_ARCHIVE: Final = re.compile(
    r".*\.(?:whl|zip|tgz|tbz|txz|tlz|tar|tar\.[a-z0-9]+)(?: *\[[^\]]*\])?", re.IGNORECASE
)
_SECONDS: Final = 900.0
_NEW: Final = ".new-"  # names that no template can have
_OLD: Final = ".old-"
_SHEBANG: Final = re.compile(rb"#!.*python[0-9.]*[^\n]*\n")


class BuildFailed(Exception):  # noqa: N818 - an answer
    """A template was not built, and nothing is left of it; the text says why."""


def build_template(
    templates_dir: Path,
    name: str,
    *,
    base: str,
    pip: Sequence[str] = (),
    npm: Sequence[str] = (),
    description: str = "",
    progress: Progress | None = None,
) -> Path:
    """Build a template with packages, in place of an older one of that name, and give its folder.

    ``progress`` is told each step before it begins: what it is, how many are done, and how many there are. Sandboxes that
    run keep the packages that they started with. Raises ``BuildFailed``.
    """
    _check(name, base)
    _check_packages(_PIP, pip)
    _check_packages(_NPM, npm)
    try:
        templates_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BuildFailed(f"there is no folder for templates: {error}") from error
    steps: list[tuple[str, Callable[[Path], None]]] = [
        *((f"pip: {package}", lambda folder, package=package: _pip(folder, package)) for package in pip),
        *([(f"npm: {' '.join(npm)}", lambda folder: _npm(folder, npm))] if npm else []),
        ("the template", lambda folder: _describe(folder, base, description or _described(base, pip, npm))),
    ]
    try:
        with _in_the_making(templates_dir) as folder:
            for number, (step, act) in enumerate(steps):
                if progress is not None:
                    progress(step, number, len(steps))
                act(folder)
            _put_in_place(folder, templates_dir / name)
    except OSError as error:
        raise BuildFailed(f"it could not be written: {error}") from error
    if progress is not None:
        progress("done", len(steps), len(steps))
    return templates_dir / name


def _check(name: str, base: str) -> None:
    known, _ = built_in("")
    if name in known:
        raise BuildFailed(f"{name} is the name of a template of this machine's own: choose another")
    if not NAME.fullmatch(name):
        raise BuildFailed(
            f"{name} is no name for a template: small letters, digits, dots, dashes and underscores"
        )
    if base not in known:
        raise BuildFailed(f"the base has to be one of {', '.join(known)}")


def _check_packages(form: re.Pattern[str], packages: Sequence[str]) -> None:
    for package in packages:
        if not form.fullmatch(package) or _ARCHIVE.fullmatch(package):
            raise BuildFailed(
                f"{package} is no name of a package: expected one with a version or without, "
                "and no path, address or option"
            )


@contextlib.contextmanager
def _in_the_making(templates_dir: Path) -> Iterator[Path]:
    """A folder that nobody takes for a template, and that is gone in the end."""
    with contextlib.ExitStack() as stack:
        with _locked(templates_dir):
            making = tempfile.TemporaryDirectory(prefix=_NEW, dir=templates_dir, ignore_cleanup_errors=True)
            outer = Path(stack.enter_context(making))
            stack.enter_context(_locked(outer))  # for as long as this process lives
        folder = outer / "template"
        folder.mkdir(mode=0o755)
        yield folder


@contextlib.contextmanager
def _locked(folder: Path, mode: int = fcntl.LOCK_EX) -> Iterator[None]:
    """Hold a folder, one builder after the other."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(number, mode)
        yield
    finally:
        os.close(number)


def _put_in_place(folder: Path, target: Path) -> None:
    """Put it where others look for it."""
    _let_read(folder)
    with _locked(target.parent):
        if os.path.lexists(target):
            target.rename(target.parent / f"{_OLD}{secrets.token_hex(8)}")
        folder.rename(target)
        _clear(target.parent)


def _clear(templates_dir: Path) -> None:
    """Remove what builders left that were killed, and what was replaced, but for what a sandbox has: its mounts tell."""
    for new in templates_dir.glob(f"{_NEW}*"):
        with contextlib.suppress(OSError), _locked(new, fcntl.LOCK_EX | fcntl.LOCK_NB):
            shutil.rmtree(new, ignore_errors=True)
    mounts = "".join(map(_mounts, Path("/proc").glob("[0-9]*/mountinfo")))
    for old in templates_dir.glob(f"{_OLD}*"):
        if old.name not in mounts:
            shutil.rmtree(old, ignore_errors=True)


def _mounts(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:  # it ended at this moment
        return ""


def _let_read(folder: Path) -> None:
    """Sandboxes run as other users, whatever the mask of whoever builds."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o555 if path.is_dir() or mode & 0o100 else 0o444))


def _described(base: str, pip: Sequence[str], npm: Sequence[str]) -> str:
    packages = ", ".join([*pip, *npm])
    return f"{base} with {packages}" if packages else base


def _describe(folder: Path, base: str, description: str) -> None:
    text = f"description = {json.dumps(description)}\nbase = {json.dumps(base)}\n"
    (folder / "template.toml").write_text(text, encoding="utf-8")


def _pip(folder: Path, package: str) -> None:
    target = folder / "packages" / "python"
    command = [
        *(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"),
        *("--only-binary=:all:", "--upgrade", "--target", str(target)),
        *("--python-version", _version(), "--implementation", "cp", package),
    ]
    _run(command, folder)
    for script in (target / "bin").glob("*"):
        content = script.read_bytes()
        if _SHEBANG.match(content):
            script.write_bytes(_SHEBANG.sub(b"#!/usr/bin/env python3\n", content, count=1))


def _version() -> str:
    """The version of the Python that sandboxes have, which need not be the one that runs this."""
    program = find_program("python3")
    if program is None:
        raise BuildFailed(
            "this machine has no /usr/bin/python3, which sandboxes run: install the package python3"
        )
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    command = [program, "-I", "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 - ours


def _npm(folder: Path, packages: Sequence[str]) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise BuildFailed("npm is missing: install Node.js, which brings it along")
    target = folder / "packages" / "node"
    target.mkdir(parents=True)
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-save", "--loglevel=error")
    _run([npm, "install", "--prefix", str(target), *options, *packages], folder)


def _run(command: Sequence[str], folder: Path) -> None:
    try:
        subprocess.run(  # noqa: S603 - names of packages were looked at, and no shell reads them
            command,
            cwd=folder,
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired:
        raise BuildFailed(f"this took longer than {_SECONDS:g} s") from None
    except subprocess.CalledProcessError as error:
        lines = error.stderr.decode("utf-8", "replace").strip().splitlines()
        raise BuildFailed(lines[-1] if lines else f"it ended with status {error.returncode}") from error
