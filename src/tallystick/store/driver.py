"""Bulk statements of the hot path, by the databases' own drivers: the least work per row.

Statements are written once with ``?`` for a value and ``{ids:column}`` for "this column is one of a list of numbers". A
``Driver`` turns them into its dialect. On PostgreSQL they run in a pipeline: what needs no answer costs no round trip.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from typing import Any, Final, NamedTuple, Protocol

Row = tuple[Any, ...]

_SIZES: Final = (64, 32, 16, 8, 4, 2, 1)
_TOTALS: Final = "ck_accounts_totals"
_SEPARATOR: Final = "\x00"
_IDS: Final = re.compile(r"\{(ids|names):([a-z_.]+)\}")


class Insert(NamedTuple):
    """A bulk insert: columns with their PostgreSQL types, and what follows the values (``ON CONFLICT …``)."""

    table: str
    columns: tuple[tuple[str, str], ...]
    suffix: str = ""


class Change(NamedTuple):
    """A bulk update by key: columns that are set, and columns that are added to.

    With ``stamped``, a row names before its key the stamp that it must still have, or None; gives the new stamps.
    """

    table: str
    key: str
    sets: tuple[tuple[str, str], ...] = ()
    adds: tuple[str, ...] = ()
    stamped: bool = False


class Driver(Protocol):
    """What both drivers do. ``raw`` is the driver's own connection, inside a transaction."""

    for_update: str
    stamp: str | None  # the expression for a row's stamp, which every update of the row changes

    def numbers(self, values: Iterable[int]) -> Any: ...  # noqa: ANN401, D102
    def names(self, values: Iterable[str]) -> Any: ...  # noqa: ANN401, D102
    def sql(self, text: str) -> str: ...  # noqa: D102
    def fetch(self, raw: Any, statements: Sequence[tuple[str, Row]]) -> list[list[Row]]: ...  # noqa: ANN401, D102
    def insert(self, raw: Any, what: Insert, rows: Sequence[Row]) -> None: ...  # noqa: ANN401, D102
    def change(self, raw: Any, what: Change, rows: Sequence[Row]) -> Any: ...  # noqa: ANN401, D102
    def pipeline(self, raw: Any) -> Any: ...  # noqa: ANN401, D102
    def version(self, raw: Any) -> object | None: ...  # noqa: ANN401, D102
    def may_retry(self, error: BaseException | None) -> bool: ...  # noqa: D102
    def is_conflict(self, error: BaseException | None) -> bool: ...  # noqa: D102
    def is_stale(self, error: BaseException | None) -> bool: ...  # noqa: D102
    def is_overflow(self, error: BaseException | None) -> bool: ...  # noqa: D102


class SqliteDriver:
    """sqlite3: prepared statements, ``executemany``."""

    for_update = ""
    stamp: str | None = None

    def __init__(self) -> None:
        self._texts: dict[object, str] = {}

    def numbers(self, values: Iterable[int]) -> str:
        """A list of numbers as one parameter."""
        return f"[{','.join(map(str, values))}]"

    def names(self, values: Iterable[str]) -> str:
        """A list of texts as one parameter."""
        return json.dumps(list(values))

    def sql(self, text: str) -> str:
        """The statement in this dialect."""
        found = self._texts.get(text)
        if found is None:
            found = self._texts[text] = _IDS.sub(r"\2 IN (SELECT value FROM json_each(?))", text)
        return found

    def fetch(self, raw: Any, statements: Sequence[tuple[str, Row]]) -> list[list[Row]]:  # noqa: ANN401
        """Every statement's rows."""
        return [raw.execute(self.sql(text), parameters).fetchall() for text, parameters in statements]

    def insert(self, raw: Any, what: Insert, rows: Sequence[Row]) -> None:  # noqa: ANN401
        """Insert all rows."""
        for chunk in _chunks(rows):
            text = self._texts.get((what, len(chunk)))
            if text is None:
                names = ", ".join(name for name, _ in what.columns)
                values = _values(len(what.columns), len(chunk))
                text = f"INSERT INTO {what.table} ({names}) VALUES {values} {what.suffix}"  # noqa: S608 - own names
                self._texts[what, len(chunk)] = text
            raw.execute(text, list(chain.from_iterable(chunk)))

    def change(self, raw: Any, what: Change, rows: Sequence[Row]) -> None:  # noqa: ANN401
        """Update all rows; a row is the sets, the adds, then the key."""
        text = self._texts.get(what)
        if text is None:
            parts = [f"{name} = ?" for name, _ in what.sets] + [f"{name} = {name} + ?" for name in what.adds]
            text = f"UPDATE {what.table} SET {', '.join(parts)} WHERE {what.key} = ?"  # noqa: S608 - own names
            self._texts[what] = text
        raw.executemany(text, rows)

    def version(self, raw: Any) -> object | None:  # noqa: ANN401
        """What changes when another connection, in this process or another, has committed.

        Each connection counts for itself, so a number means nothing without the connection that counted.
        """
        return raw, raw.execute("PRAGMA data_version").fetchone()[0]

    @contextmanager
    def pipeline(self, raw: Any) -> Iterator[None]:  # noqa: ANN401, ARG002
        """Nothing to save: the database is in this process."""
        yield

    def may_retry(self, error: BaseException | None) -> bool:  # noqa: ARG002
        """Whether the same work may succeed when it is done again."""
        return False  # The busy timeout has waited already.

    def is_conflict(self, error: BaseException | None) -> bool:
        """Whether another row with the same unique key was there first."""
        return type(error).__name__ == "IntegrityError" and "UNIQUE" in str(error)

    def is_stale(self, error: BaseException | None) -> bool:  # noqa: ARG002
        """Whether a row no longer had the stamp that was expected: here rows have none."""
        return False

    def is_overflow(self, error: BaseException | None) -> bool:
        """Whether a total grew beyond what can be counted."""
        return type(error).__name__ == "IntegrityError" and _TOTALS in str(error)


class PostgresDriver:
    """psycopg 3: arrays through ``unnest``, pipelines."""

    for_update = "FOR UPDATE"
    stamp: str | None = "xmin::text::bigint"

    def __init__(self) -> None:
        self._texts: dict[object, str] = {}

    def numbers(self, values: Iterable[int]) -> str:
        """A list of numbers as one parameter."""
        return f"{{{','.join(map(str, values))}}}"

    def names(self, values: Iterable[str]) -> str:
        """A list of texts as one parameter."""
        return _text_array(values)

    def sql(self, text: str) -> str:
        """The statement in this dialect."""
        found = self._texts.get(text)
        if found is None:
            found = self._texts[text] = _IDS.sub(_any, text).replace("?", "%s")
        return found

    def fetch(self, raw: Any, statements: Sequence[tuple[str, Row]]) -> list[list[Row]]:  # noqa: ANN401
        """Every statement's rows, in one round trip."""
        with self.pipeline(raw):
            cursors = [raw.execute(self.sql(text), parameters) for text, parameters in statements]
            return [cursor.fetchall() for cursor in cursors]

    def insert(self, raw: Any, what: Insert, rows: Sequence[Row]) -> None:  # noqa: ANN401
        """Insert all rows in one statement."""
        text = self._texts.get(what)
        if text is None:
            names = ", ".join(name for name, _ in what.columns)
            arrays = ", ".join(f"%s::{kind}[]" for _, kind in what.columns)
            text = f"INSERT INTO {what.table} ({names}) SELECT * FROM unnest({arrays}) {what.suffix}"  # noqa: S608
            self._texts[what] = text
        raw.execute(text, _arrays([kind for _, kind in what.columns], rows))

    def change(self, raw: Any, what: Change, rows: Sequence[Row]) -> Any:  # noqa: ANN401
        """Update all rows in one statement; a row is the sets, the adds, a stamp if need be, then the key."""
        kinds = [kind for _, kind in what.sets] + ["bigint"] * (len(what.adds) + 1 + what.stamped)
        text = self._texts.get(what)
        if text is None:
            names = [name for name, _ in what.sets]
            parts = [f"{name} = v.{name}" for name in names]
            parts += [f"{name} = {what.table}.{name} + v.{name}" for name in what.adds]
            stamp, returning = f"{what.table}.{self.stamp}", ""
            if what.stamped:
                # A row with another stamp gets a NULL where none may be, which ends the transaction.
                parts[0] = (
                    f"{names[0]} = CASE WHEN COALESCE(v.stamp, {stamp}) = {stamp} THEN v.{names[0]} END"
                )
                returning = f" RETURNING {stamp}"
            arrays = ", ".join(f"%s::{kind}[]" for kind in kinds)
            columns = ", ".join([*names, *what.adds, *(["stamp"] if what.stamped else []), "key"])
            text = (
                f"UPDATE {what.table} SET {', '.join(parts)} FROM unnest({arrays}) AS v({columns}) "  # noqa: S608
                f"WHERE {what.table}.{what.key} = v.key{returning}"
            )
            self._texts[what] = text
        return raw.execute(text, _arrays(kinds, rows))

    def version(self, raw: Any) -> object | None:  # noqa: ANN401, ARG002
        """Not to be known: rows are locked and read anew."""
        return None

    def pipeline(self, raw: Any) -> Any:  # noqa: ANN401
        """Statements whose answers nobody waits for go out together; inside a pipeline there is nothing more to do."""
        return nullcontext() if raw.pgconn.pipeline_status else raw.pipeline()

    def may_retry(self, error: BaseException | None) -> bool:
        """Whether the same work may succeed when it is done again."""
        return getattr(error, "sqlstate", None) in {"40001", "40P01", "55P03"}

    def is_conflict(self, error: BaseException | None) -> bool:
        """Whether another row with the same unique key was there first."""
        return getattr(error, "sqlstate", None) == "23505"

    def is_stale(self, error: BaseException | None) -> bool:
        """Whether a row no longer had the stamp that was expected."""
        return getattr(error, "sqlstate", None) == "23502"

    def is_overflow(self, error: BaseException | None) -> bool:
        """Whether a total grew beyond what can be counted."""
        return getattr(error, "sqlstate", None) == "22003" or _TOTALS in str(error)


def _chunks(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Rows in groups of 64, then of ever smaller powers of two: few statements, each prepared once."""
    start, count = 0, len(rows)
    for size in _SIZES:
        while count - start >= size:
            yield rows[start : start + size]
            start += size


def _values(columns: int, rows: int) -> str:
    return ", ".join([f"({', '.join('?' * columns)})"] * rows)


def _any(match: re.Match[str]) -> str:
    kind = "bigint" if match.group(1) == "ids" else "text"
    return f"{match.group(2)} = ANY(?::{kind}[])"


def _arrays(kinds: Sequence[str], rows: Sequence[Row]) -> list[str]:
    columns = zip(*rows, strict=True)
    return [
        _text_array(values) if kind == "text" else _plain_array(values)
        for kind, values in zip(kinds, columns, strict=True)
    ]


def _plain_array(values: Iterable[int | bool | None]) -> str:
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def _text_array(values: Iterable[str | None]) -> str:
    """An array's text form: each value in quotes, with quotes and backslashes escaped, all values at once."""
    texts = list(values)
    if None in texts:
        parts = ["NULL" if value is None else f'"{_escaped(value)}"' for value in texts]
        return "{" + ",".join(parts) + "}"
    joined = _escaped(_SEPARATOR.join(texts))  # type: ignore[arg-type]
    if joined.count(_SEPARATOR) != max(len(texts) - 1, 0):  # or the columns of a batch would shift
        message = "expected texts without NUL: PostgreSQL cannot store it"
        raise ValueError(message)
    return '{"' + joined.replace(_SEPARATOR, '","') + '"}' if texts else "{}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
