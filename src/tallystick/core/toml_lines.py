"""On which line of a TOML text each key stands, so that a problem can be shown where it is.

The standard library's reader gives values without places. This scanner runs over text that the reader has
accepted, so it only has to find its way, not to judge. A path is a tuple of keys, and of positions inside
arrays.
"""

import re
from collections.abc import Mapping
from typing import TypeAlias

Path: TypeAlias = tuple[str | int, ...]

_TOKEN = re.compile(
    r'(?P<string>"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\])*"|\'[^\']*\')'
    r"|(?P<newline>\n)|(?P<mark>[\[\]{},=])|(?P<bare>[^\s\[\]{},=#\"']+)|(?P<other>\#[^\n]*|[^\S\n]+)",
    re.DOTALL,
)


def show_path(path: Path) -> str:
    """Write a path as people do: ``plans.pro.allowances[0].amount``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def line_of(lines: Mapping[Path, int], path: Path) -> int | None:
    """Give the line of a path, or of the nearest table around it that has one."""
    for length in range(len(path), 0, -1):
        if path[:length] in lines:
            return lines[path[:length]]
    return None


def key_lines(text: str) -> dict[Path, int]:
    """Give the line, counted from 1, on which each key, table and element of a valid TOML text begins."""
    return _Scanner(text).document()


class _Scanner:
    """One walk over the tokens: ``self.at`` is the next one, and the last one is empty."""

    def __init__(self, text: str) -> None:
        self.tokens: list[tuple[str, str, int]] = []
        self.lines: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}
        self.at = 0
        line = 1
        for match in _TOKEN.finditer(text):
            if match.lastgroup != "other":
                self.tokens.append((str(match.lastgroup), match.group(), line))
            line += match.group().count("\n")
        self.tokens.append(("end", "", line))

    def document(self) -> dict[Path, int]:
        """Walk over headers and pairs until the text ends."""
        table: Path = ()
        while self.kind() != "end":
            if self.kind() == "newline":
                self.at += 1
            elif self.mark() == "[":
                table = self.header()
            else:
                self.pair(table)
        return self.lines

    def kind(self) -> str:
        """Name the kind of the next token."""
        return self.tokens[self.at][0]

    def mark(self) -> str:
        """Give the next token if it is a mark such as a bracket, otherwise nothing."""
        kind, token, _ = self.tokens[self.at]
        return token if kind == "mark" else ""

    def header(self) -> Path:
        """Read ``[table]`` or ``[[array of tables]]`` and give the table's path."""
        line = self.tokens[self.at][2]
        self.at += 1
        is_array = self.mark() == "["
        self.at += is_array
        path: Path = ()
        for key in self.keys():
            if path in self.counts:
                path = (*path, self.counts[path] - 1)
            path = (*path, key)
        if is_array:
            self.counts[path] = self.counts.get(path, 0) + 1
            self.lines.setdefault(path, line)
        if path in self.counts:
            path = (*path, self.counts[path] - 1)
        self.at += 1 + is_array
        self.lines.setdefault(path, line)
        return path

    def keys(self) -> list[str]:
        """Read a dotted key."""
        found: list[str] = []
        while self.kind() in {"bare", "string"}:
            kind, token, _ = self.tokens[self.at]
            found += [token[1:-1]] if kind == "string" else [part for part in token.split(".") if part]
            self.at += 1
        return found

    def pair(self, table: Path) -> None:
        """Read ``key = value``."""
        line = self.tokens[self.at][2]
        path = table
        for key in self.keys():
            path = (*path, key)
            self.lines.setdefault(path, line)
        self.at += 1
        self.value(path)

    def value(self, path: Path) -> None:
        """Read a value, and what stands inside it."""
        opening = self.mark()
        if opening == "":
            while self.kind() in {"bare", "string"}:
                self.at += 1
            return
        self.at += 1
        position = 0
        while self.mark() not in {"]", "}"}:
            if self.kind() == "newline" or self.mark() == ",":
                self.at += 1
            elif opening == "[":
                self.lines[(*path, position)] = self.tokens[self.at][2]
                self.value((*path, position))
                position += 1
            else:
                self.pair(path)
        self.at += 1
