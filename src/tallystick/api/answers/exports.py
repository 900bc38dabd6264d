"""Exports as CSV by RFC 4180: a header, one line for each thing, exact decimals, RFC 3339 times, ids as in the JSON.

A text that a spreadsheet would take for a formula gets an apostrophe in front, so that opening a file runs nothing of what
a customer wrote. Numbers, times and our own ids stay as they are.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final, TypeVar

from fastapi.responses import StreamingResponse

from tallystick.core.amounts import MICROS_PER_CENT
from tallystick.core.decimals import format_amount
from tallystick.core.ids import to_text
from tallystick.core.times import format_rfc3339
from tallystick.services.exports import Export, PaymentRecord, StatementLine, UsageLine
from tallystick.store.payouts import PayoutRow

T = TypeVar("T")
Columns = Sequence[tuple[str, Callable[[T], str]]]

# What begins a formula, also behind spaces and in the wide forms of East Asia; and apostrophes before it, so that taking
# one away always gives the text itself.
_FORMULA: Final = re.compile(r"'*(?:[\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def _text(value: str | None) -> str:
    """A text that is nobody's formula."""
    if value is None:
        return ""
    return f"'{value}" if _FORMULA.match(value) else value


def _time(micros: int | None) -> str:
    return "" if micros is None else format_rfc3339(micros)


def _dollars(cents: int) -> str:
    return format_amount(cents * MICROS_PER_CENT)


def _id(prefix: str, number: int | None) -> str:
    return "" if number is None else to_text(prefix, number)


TRANSACTIONS: Final[Columns[StatementLine]] = (
    ("id", lambda line: to_text("txn", line.transaction_id)),
    ("line", lambda line: str(line.number)),
    ("date", lambda line: format_rfc3339(line.at)),
    ("customer", lambda line: to_text("cust", line.customer_id)),
    ("type", lambda line: _text(line.type)),
    ("category", lambda line: _text(line.category)),
    ("meter", lambda line: _text(line.meter)),
    ("unit", lambda line: _text(line.unit)),
    ("amount", lambda line: format_amount(line.amount)),
    ("balance_after", lambda line: format_amount(line.balance_after)),
    ("description", lambda line: _text(line.description)),
    ("reference", lambda line: line.reference or ""),
    ("grant_reference", lambda line: _text(line.grant_reference)),
    ("agent", lambda line: _text(line.agent)),
    ("metadata", lambda line: _text(line.metadata)),
)
USAGE: Final[Columns[UsageLine]] = (
    ("date", lambda line: line.date),
    ("customer", lambda line: to_text("cust", line.customer_id)),
    ("meter", lambda line: _text(line.meter)),
    ("unit", lambda line: _text(line.unit)),
    ("lines", lambda line: str(line.entries)),
    ("charged", lambda line: format_amount(line.charged)),
    ("refunded", lambda line: format_amount(line.refunded)),
    ("spent", lambda line: format_amount(line.spent)),
    ("earned", lambda line: format_amount(line.earned)),
)
PAYMENTS: Final[Columns[PaymentRecord]] = (
    ("id", lambda record: to_text("pay", record.row.id)),
    ("date", lambda record: format_rfc3339(record.row.created_at)),
    ("paid_at", lambda record: _time(record.row.paid_at)),
    ("customer", lambda record: to_text("cust", record.row.customer_id)),
    ("external_id", lambda record: _text(record.external_id)),
    ("kind", lambda record: _text(record.row.kind)),
    ("title", lambda record: _text(record.row.title)),
    ("status", lambda record: _text(record.status)),
    ("amount", lambda record: _dollars(record.row.amount_cents)),
    ("refunded", lambda record: _dollars(record.row.refunded_cents)),
    ("disputed", lambda record: _dollars(record.row.disputed_cents)),
    ("currency", lambda record: _text(record.row.currency)),
    ("credits", lambda record: format_amount(record.row.credits)),
    ("credits_taken_back", lambda record: format_amount(record.row.clawed_back)),
    ("unit", lambda record: _text(record.row.unit)),
    ("grant", lambda record: _id("grant", record.row.grant_id)),
    ("provider", lambda record: _text(record.row.provider)),
    ("mode", lambda record: "live" if record.row.live else "test"),
    ("provider_reference", lambda record: _text(record.row.reference)),
    ("session_id", lambda record: _text(record.row.checkout)),
    ("invoice", lambda record: _text(record.row.invoice)),
    ("invoice_url", lambda record: _text(record.row.invoice_url or record.row.receipt_url)),
    ("reason", lambda record: _text(record.row.failure_text or record.row.failure)),
)


PAYOUTS: Final[Columns[PayoutRow]] = (
    ("customer", lambda row: to_text("cust", row.customer_id)),
    ("external_id", lambda row: _text(row.external_id)),
    ("unit", lambda row: _text(row.unit)),
    ("earned", lambda row: format_amount(row.earned)),
    ("payable", lambda row: format_amount(row.payable)),
    ("waiting", lambda row: format_amount(row.waiting)),
    ("disputed", lambda row: format_amount(row.disputed)),
    ("free", lambda row: format_amount(row.free)),
)


class Csv(StreamingResponse):
    """A file that is sent while it is read."""

    media_type = "text/csv"


def csv_file(noun: str, found: Export[T], columns: Columns[T]) -> Csv:
    """An export of ``noun`` as a file with a name. Its first page is read before anything is sent: it may be refused."""
    pieces = _pieces(found.pages, columns)
    whose = "all" if found.customer_id is None else to_text("cust", found.customer_id)
    at = re.sub(r"[-:]|\.\d+", "", format_rfc3339(found.as_of))
    name = "-".join(part for part in (noun, whose, found.unit, at) if part is not None)
    return Csv(
        chain([next(pieces)], pieces), headers={"Content-Disposition": f'attachment; filename="{name}.csv"'}
    )


def _pieces(pages: Iterable[Sequence[T]], columns: Columns[T]) -> Iterator[bytes]:
    """The header with the first page, then one piece for each page."""
    buffer = io.StringIO()
    write = csv.writer(buffer, lineterminator="\r\n")
    write.writerow([name for name, _ in columns])
    cells = [cell for _, cell in columns]
    for page in pages:
        write.writerows([cell(line) for cell in cells] for line in page)
        yield buffer.getvalue().encode()
        buffer.seek(0)
        buffer.truncate()
    if buffer.tell():  # there is no page
        yield buffer.getvalue().encode()
