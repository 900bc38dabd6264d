"""`tally audit`: derive every stored figure of the database anew, and report each rule of the ledger."""

from __future__ import annotations

from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.local import DatabaseOption, read_config, without_password
from tallystick.cli.problems import Problem
from tallystick.cli.progress import bars
from tallystick.cli.rendering import text
from tallystick.cli.tables import Column, table

if TYPE_CHECKING:
    from tallystick.store.engine import Database


def register(root: Noun) -> None:
    """Put the command under the root."""
    root.command("audit")(audit)


def audit(session: Session, *, database_url: DatabaseOption = None) -> Output:
    """Check every rule of the ledger on a database that may be running; status 1 when one is broken."""
    from tallystick.core.times import format_rfc3339
    from tallystick.services.audit import audit as derive

    config = read_config(database_url=database_url)
    with closing(_open(config.database_url)) as database, bars(session) as progress:
        report = derive(database, progress=progress)
    data = {
        "ok": report.ok,
        "database_url": without_password(config.database_url),
        "as_of": format_rfc3339(report.now),
        "transactions": report.transactions,
        "rules": [asdict(rule) for rule in report.rules],
    }
    return Output(data, lambda out: _show(out, data), status=0 if report.ok else 1)


def _open(url: str) -> Database:
    """The database as it is. An audit never makes one, and never changes one."""
    from tallystick.store import migrations
    from tallystick.store.engine import Database, parse_url

    address = parse_url(url)
    advice = "Name the database with --database-url or TALLY_DATABASE_URL, or set one up with `tally init`."
    if address.get_backend_name() == "sqlite" and not Path(str(address.database)).is_file():
        raise Problem("no_database", f"there is no file {address.database}", advice=advice)
    database = Database(url)
    try:
        with database.read() as connection:
            found = migrations.current(connection)
    except BaseException:
        database.close()
        raise
    if found != migrations.newest():
        database.close()
        detail = "is not Tallystick's" if found is None else "has an older schema than this program"
        raise Problem("no_database", f"the database {without_password(url)} {detail}", advice=advice)
    return database


def _show(out: Console, data: dict[str, Any]) -> None:
    columns = (
        Column("rule", "number", "amount"),
        Column("what holds", "name", wraps=True),
        Column("checked", "checked", "amount"),
        Column("violations", "count", "amount"),
    )
    out.print(table(data["rules"], columns, title=f"{data['database_url']} as of {data['as_of']}"))
    wrong = [each | {"rule": rule["number"]} for rule in data["rules"] for each in rule["violations"]]
    if wrong:
        columns = (
            Column("rule", "rule", "amount"),
            Column("where", "where", wraps=True),
            Column("expected", "expected", wraps=True),
            Column("found", "found", wraps=True),
        )
        out.print(table(wrong, columns, title="What does not hold (the first of each rule)"))
        out.print(
            text("The ledger does not hold: somebody or something changed it from outside.", "bold red")
        )
    else:
        out.print(text(f"{data['transactions']:,} transactions: every rule holds.", "green"))
