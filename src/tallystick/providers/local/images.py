"""What sandboxes start from: this machine's own programs, or a root folder, with packages that were put there before.

A template of the operator is a folder with a ``template.toml``::

    description = "Python with pandas"
    base = "python"             # a template of ours; or root = "/srv/roots/debian", a whole root folder
    languages = ["bash", "python"]                  # only with root
    [env]
    TZ = "UTC"

and, where there is one, a folder ``packages`` beside it, which is read-only in the sandbox.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

from tallystick.ports.sandboxes import Language, Template

PACKAGES: Final = "/opt/packages"
PATHS: Final = ("usr/local/bin", "usr/bin")
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
_PATH: Final = "/usr/local/bin:/usr/bin:/bin"
_PROGRAMS: Final[Mapping[Language, tuple[str, str]]] = {
    "bash": ("bash", "-c"),
    "python": ("python3", "-c"),
    "javascript": ("node", "-e"),
}
_BASES: Final[Mapping[str, tuple[str, tuple[Language, ...]]]] = {
    "bash": ("A shell and the programs of this machine", ("bash",)),
    "python": ("Python and a shell", ("python", "bash")),
    "node": ("Node.js and a shell", ("javascript", "bash")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A template as it is mounted: ``commands`` are interpreters with the option that takes code.

    ``root`` None: this machine's own programs.
    """

    name: str
    description: str
    commands: Mapping[Language, str]
    python: str
    root: Path | None = None
    packages: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def template(self) -> Template:
        """As it is shown."""
        return Template(name=self.name, description=self.description, languages=tuple(self.commands))


def find_program(name: str, root: Path = Path("/")) -> str | None:
    """Where a sandbox finds a program of this root: only what lies in ``/usr`` is seen in it."""
    for folder in PATHS:
        path = root / folder / name
        if os.access(path, os.X_OK) and path.resolve().is_relative_to((root / "usr").resolve()):
            return f"/{folder}/{name}"
    return None


def built_in(python: str) -> tuple[dict[str, Image], list[str]]:
    """The templates that this machine's programs make, and a sentence for each that they do not."""
    found, missing = {}, []
    for name, (description, languages) in _BASES.items():
        commands, absent = _commands(languages, Path("/"))
        if absent:
            missing.append(f"there is no template {name}: this machine has no {absent[0]} in /usr/bin")
            continue
        found[name] = Image(
            name=name, description=description, commands=commands, python=python, env=_environment()
        )
    return found, missing


def _commands(languages: tuple[Language, ...], root: Path) -> tuple[dict[Language, str], list[str]]:
    commands: dict[Language, str] = {}
    absent = []
    for language in languages:
        program, option = _PROGRAMS[language]
        path = find_program(program, root)
        if path is None:
            absent.append(program)
        else:
            commands[language] = f"{path} {option}"
    return commands, absent


def _environment(packages: Path | None = None) -> dict[str, str]:
    env = {
        "HOME": "/home/user",
        "LANG": "C.UTF-8",
        "PATH": _PATH,
        "PYTHONUNBUFFERED": "1",  # so that output arrives while a program runs
        "USER": "user",
    }
    if packages is not None and (packages / "python").is_dir():
        env["PYTHONPATH"] = f"{PACKAGES}/python"
        env["PATH"] = f"{PACKAGES}/python/bin:{env['PATH']}"
    if packages is not None and (packages / "node").is_dir():
        env["NODE_PATH"] = f"{PACKAGES}/node/node_modules"
        env["PATH"] = f"{PACKAGES}/node/node_modules/.bin:{env['PATH']}"
    return env


# --- templates of the operator ---------------------------------------------------------------------------------------


class ImageInvalid(ValueError):  # noqa: N818 - an answer
    """A template cannot be used; the text says why."""


class Shelf:
    """All templates: this machine's own, and the operator's as they lie in their folder at the moment.

    ``for_others``: sandboxes run as users who own nothing here, so that they have to be let in.
    """

    def __init__(self, own: Mapping[str, Image], folder: Path | None, *, for_others: bool) -> None:
        self._own = own
        self._folder = folder
        self._for_others = for_others
        self._loaded: tuple[object, Mapping[str, Image], tuple[str, ...]] = ((), own, ())

    def all(self) -> Mapping[str, Image]:
        """The templates by name; whoever put one into the folder need not restart anything."""
        return self._look()[1]

    def unusable(self) -> tuple[str, ...]:
        """A sentence for each of the operator's that cannot be used."""
        return self._look()[2]

    def _look(self) -> tuple[object, Mapping[str, Image], tuple[str, ...]]:
        places = [] if self._folder is None else _places(self._folder)
        seen = tuple((place, *_state(place)) for place in places)
        loaded = self._loaded
        if loaded[0] == seen:
            return loaded
        found, unusable = dict(self._own), []
        for place in places:
            try:
                found[place.name] = _load(place, self._own, for_others=self._for_others)
            except (OSError, ValueError, RecursionError) as error:  # what TOML cannot be is a ValueError, too
                unusable.append(_printable(f"there is no template {place.name}: {error}"))
        self._loaded = loaded = (seen, found, tuple(unusable))
        return loaded


def _printable(text: str) -> str:
    """A text that may be shown and written anywhere, whatever a file or a folder was called."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def _places(folder: Path) -> list[Path]:
    """Where templates are described, each in a folder of its own; one with a dot before its name is being replaced."""
    return sorted(path.parent for path in folder.glob("[!.]*/template.toml") if path.is_file())


def _state(place: Path) -> tuple[int, int, int]:
    """What changes when a template is put in another's place, or described anew."""
    try:
        outer, inner = place.stat(), (place / "template.toml").stat()
    except OSError:  # it is being replaced
        return (0, 0, 0)
    return (outer.st_ino, inner.st_ino, inner.st_mtime_ns)


def _load(place: Path, bases: Mapping[str, Image], *, for_others: bool) -> Image:
    told = tomllib.loads((place / "template.toml").read_text(encoding="utf-8"))
    if not NAME.fullmatch(place.name):
        raise ImageInvalid("a name has small letters, digits, dots, dashes and underscores")
    packages = place / "packages" if (place / "packages").is_dir() else None
    base = _rooted(told, place) if "root" in told else _based(told, bases)
    extra = told.get("env", {})
    if not isinstance(extra, dict) or not all(_is_variable(*item) for item in extra.items()):
        raise ImageInvalid(
            "env has to be a table of texts, without NUL, and with names that are not empty and have no ="
        )
    for path in (packages, base.root):
        if path is not None and for_others:
            _check_open(path)
    return replace(
        base,
        name=place.name,
        description=_printable(str(told.get("description", base.description))),
        packages=packages,
        env={**base.env, **_environment(packages), **extra},
    )


def _is_variable(name: str, value: object) -> bool:
    return isinstance(value, str) and "\0" not in name + value and "=" not in name and name != ""


def _based(told: Mapping[str, Any], bases: Mapping[str, Image]) -> Image:
    base = told.get("base")
    if not isinstance(base, str) or base not in bases:
        raise ImageInvalid(f"its base has to be one of {', '.join(bases)}, or root has to be a folder")
    return bases[base]


def _rooted(told: Mapping[str, Any], place: Path) -> Image:
    if not isinstance(told["root"], str) or "\0" in told["root"]:
        raise ImageInvalid("root has to be the path of a folder")
    root = (place / told["root"]).resolve()
    if not (root / "usr").is_dir():
        raise ImageInvalid(f"{root} is no root folder: it has no usr")
    asked = told.get("languages", ["bash"])
    if not isinstance(asked, list) or not asked or not all(each in list(_PROGRAMS) for each in asked):
        raise ImageInvalid(f"languages has to be a list of {', '.join(_PROGRAMS)}")
    commands, absent = _commands(tuple(cast("list[Language]", asked)), root)
    python = find_program("python3", root)
    if python is None or absent:
        raise ImageInvalid(f"{root} has no {'python3' if python is None else absent[0]} in usr/bin")
    return Image(
        name="",
        description=f"The root folder {root}",
        commands=commands,
        python=python,
        root=root,
        env=_environment(),
    )


def _check_open(path: Path) -> None:
    for folder in (path, *path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            raise ImageInvalid(
                f"sandboxes run as other users, who may not enter {folder}: chmod o+x lets them"
            )
