"""`tally sandbox`: where code runs, metered by the second."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer
from rich.console import Console

from tallystick.cli.balances import show_page
from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.live import printed
from tallystick.cli.options import (
    AgentOption,
    CursorOption,
    CustomerOption,
    KeyOption,
    LimitOption,
    MetadataOption,
    metadata_of,
    pair,
    segment,
)
from tallystick.cli.rendering import amount, answer_facts, facts, moment, text, units
from tallystick.cli.tables import Column, table

noun = Noun("sandbox", "Sandboxes, metered by the second: create, execute, stop; and what they cost.")

DEFAULT_EXECUTE_SECONDS: Final = 60
_MORE_SECONDS: Final = 30

IdOption = Annotated[str, typer.Option("--id", metavar="SANDBOX", help="The sandbox's id: sbx_….")]
EnvOption = Annotated[
    list[str] | None,
    typer.Option("--env", metavar="NAME=VALUE", help="A variable; may be given several times."),
]
PathOption = Annotated[
    str, typer.Option("--path", help="The file in the sandbox, from its working folder or absolute.")
]


def _env(items: list[str] | None) -> dict[str, str] | None:
    return dict(pair(item) for item in items or ()) or None


def _address(sandbox: str, rest: str = "") -> str:
    return f"/sandboxes/{segment(sandbox)}{rest}"


@noun.command("list-templates")
def list_templates(session: Session) -> Output:
    """Show what sandboxes can be made from, and how they are isolated and limited."""
    answer = session.remote.get("/sandboxes/templates")
    columns = (
        Column("template", "name"),
        Column("languages", lambda row: ", ".join(row["languages"])),
        Column("description", "description", wraps=True),
    )

    def show(out: Console) -> None:
        out.print(table(answer["templates"], columns, empty="no templates"))
        out.print(text(f"Run by {answer['provider']}: {answer['isolation']}."))
        out.print(text(f"Limits: {answer['limits'].replace('_', ' ')}, by {answer['limits_by']}."))
        for warning in answer["warnings"]:
            out.print(text(warning, "yellow"))

    return Output(answer, show)


@noun.command("create")
def create(
    session: Session,
    *,
    template: Annotated[str, typer.Option("--template", help="What it starts from, such as node.")],
    name: Annotated[str | None, typer.Option("--name", help="What you call it.")] = None,
    env: EnvOption = None,
    timeout: Annotated[
        int | None, typer.Option("--timeout", metavar="SECONDS", help="When it ends by itself.")
    ] = None,
    vcpu: Annotated[int | None, typer.Option("--vcpu", metavar="COUNT", help="How many processors.")] = None,
    memory_mib: Annotated[
        int | None, typer.Option("--memory-mib", metavar="MIB", help="How much memory.")
    ] = None,
    metadata: MetadataOption = None,
    agent: AgentOption = None,
    customer: CustomerOption = None,
    key: KeyOption = None,
) -> Output:
    """Make a sandbox; from when it is ready its seconds are billed."""
    body = {
        "template": template,
        "name": name,
        "env_vars": _env(env),
        "timeout": timeout,
        "vcpu": vcpu,
        "memory_mib": memory_mib,
        "metadata": metadata_of(metadata),
        "agent": agent,
        "customer": customer,
    }
    with session.busy("Making the sandbox"):
        answer = session.remote.post("/sandboxes", body, key=key)
    return Output(answer, lambda out: _show(out, f"{answer['id']} is ready.", answer))


@noun.command("execute")
def execute(
    session: Session,
    *,
    sandbox: IdOption,
    code: Annotated[str, typer.Option("--code", help="What to run; - reads it from standard input.")],
    language: Annotated[
        Literal["bash", "python", "javascript"] | None,
        typer.Option("--language", help="In which language; the first of the template by default."),
    ] = None,
    timeout: Annotated[
        int, typer.Option("--timeout", metavar="SECONDS", min=1, help="When it is killed.")
    ] = DEFAULT_EXECUTE_SECONDS,
    env: EnvOption = None,
    key: KeyOption = None,
) -> Output:
    """Run code, print what it writes as it comes, and leave with 0 if it did: 1 if it failed, was killed, or was refused."""
    body = {
        "code": sys.stdin.read() if code == "-" else code,
        "language": language,
        "timeout": timeout,
        "env_vars": _env(env),
    }
    address, seconds = _address(sandbox, "/execute"), timeout + _MORE_SECONDS
    if session.as_json:
        answer = session.remote.post(address, body, key=key, timeout_seconds=seconds)
    else:
        with printed() as tell:
            answer = session.remote.post_live(address, body, key=key, timeout_seconds=seconds, on_output=tell)
    return Output(answer, lambda out: _show_end(out, answer), 0 if answer["exit_code"] == 0 else 1)


@noun.command("list")
def list_(
    session: Session,
    *,
    status: Annotated[
        Literal["creating", "running", "stopped", "failed"] | None,
        typer.Option("--status", help="Only these."),
    ] = None,
    customer: CustomerOption = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
) -> Output:
    """List sandboxes, newest first."""
    answer = session.remote.get("/sandboxes", status=status, customer=customer, limit=limit, cursor=cursor)
    columns = (
        Column("sandbox", "id"),
        Column("name", "name", wraps=True),
        Column("template", "template"),
        Column("status", lambda row: row["status"] + (f": {row['reason']}" if row["reason"] else "")),
        Column("seconds", "seconds", "amount"),
        Column("cost", "cost", "amount"),
        Column("unit", "unit"),
        Column("ends", "ends_at", "time"),
    )
    return Output(answer, lambda out: show_page(out, answer, "sandboxes", columns))


@noun.command("status")
def status(session: Session, *, sandbox: IdOption) -> Output:
    """Show one sandbox: whether it runs, what it has cost, and how far it is paid for."""
    answer = session.remote.get(_address(sandbox))
    return Output(answer, lambda out: _show(out, f"{answer['id']} is {answer['status']}.", answer))


@noun.command("logs")
def logs(
    session: Session, *, sandbox: IdOption, limit: LimitOption = 20, cursor: CursorOption = None
) -> Output:
    """Show what was run and what it wrote, oldest of the page first."""
    answer = session.remote.get(_address(sandbox, "/logs"), limit=limit, cursor=cursor)

    def show(out: Console) -> None:
        for each in reversed(answer["logs"]):
            out.print(text(f"{moment(each['started_at'])}  {each['language']}  {each['id']}", "dim"))
            out.print(text(each["code"], "bold"))
            _show_run(out, each)
        if not answer["logs"]:
            out.print(text("nothing was run", "dim"))
        if answer["has_more"]:
            out.print(text(f"There is more: add --cursor {answer['next_cursor']}", "dim"))

    return Output(answer, show)


@noun.command("upload")
def upload(
    session: Session,
    *,
    sandbox: IdOption,
    file: Annotated[
        Path, typer.Option("--file", exists=True, dir_okay=False, readable=True, help="The file here.")
    ],
    path: Annotated[
        str | None,
        typer.Option("--path", help="Where it goes; its own name in the working folder by default."),
    ] = None,
    key: KeyOption = None,
) -> Output:
    """Put a file into a sandbox."""
    there = path or file.name
    answer = session.remote.put_file(_address(sandbox, "/files"), file.read_bytes(), key=key, path=there)
    return Output(answer, lambda out: out.print(text(f"{there} is in {answer['id']}.", "green")))


@noun.command("download")
def download(
    session: Session,
    *,
    sandbox: IdOption,
    path: PathOption,
    output: Annotated[Path, typer.Option("--output", dir_okay=False, help="Where it goes here.")],
) -> Output:
    """Fetch a file of a sandbox."""
    kind = "application/octet-stream"
    with session.remote.download(_address(sandbox, "/files"), kind=kind, path=path) as pieces:
        content = b"".join(pieces)
    output.write_bytes(content)
    answer = {"path": path, "output": str(output), "bytes": len(content)}
    return Output(
        answer, lambda out: out.print(text(f"{amount(len(content))} bytes are in {output}.", "green"))
    )


@noun.command("configure")
def configure(
    session: Session,
    *,
    sandbox: IdOption,
    env: EnvOption = None,
    timeout: Annotated[
        int | None, typer.Option("--timeout", metavar="SECONDS", help="Run for so long from now at least.")
    ] = None,
    key: KeyOption = None,
) -> Output:
    """Set variables for what is run from now on, or extend the time, or both."""
    change = {"env_vars": _env(env), "timeout": timeout}
    answer = session.remote.patch(_address(sandbox), change, key=key)
    return Output(answer, lambda out: _show(out, f"Changed {answer['id']}.", answer))


@noun.command("extend")
def extend(
    session: Session,
    *,
    sandbox: IdOption,
    timeout: Annotated[int, typer.Option("--timeout", metavar="SECONDS", help="Run for so long from now.")],
) -> Output:
    """Let a sandbox run for longer; never for less than before."""
    answer = session.remote.post(_address(sandbox, "/extend"), {"timeout": timeout})
    return Output(answer, lambda out: _show(out, f"{answer['id']} runs on.", answer))


@noun.command("stop")
def stop(session: Session, *, sandbox: IdOption) -> Output:
    """End a sandbox now; its seconds are billed to here."""
    answer = session.remote.post(_address(sandbox, "/stop"))
    return Output(answer, lambda out: _show(out, f"Stopped {answer['id']}.", answer))


@noun.command("delete")
def delete(session: Session, *, sandbox: IdOption) -> Output:
    """End a sandbox, and show its whole bill."""
    answer = session.remote.delete(_address(sandbox))
    return Output(answer, lambda out: _show(out, f"Deleted {answer['id']}.", answer))


@noun.command("explain")
def explain(
    session: Session,
    *,
    sandbox: IdOption,
    from_second: Annotated[
        int | None, typer.Option("--from-second", metavar="SECOND", help="Show each second from this one on.")
    ] = None,
    seconds: Annotated[
        int, typer.Option("--seconds", metavar="COUNT", min=1, max=3600, help="How many seconds to show.")
    ] = 60,
) -> Output:
    """Explain a sandbox's bill: each transaction, and each second if you want."""
    answer = session.remote.get(_address(sandbox, "/explain"), from_second=from_second, seconds=seconds)
    lines = (
        Column("date", "at", "time"),
        Column("operation", "operation"),
        Column("from ms", "from_ms", "amount"),
        Column("to ms", "to_ms", "amount"),
        Column("amount", lambda row: _amounts(row["amounts"])),
        Column("transaction", "transaction"),
    )
    refunds = (
        Column("date", "at", "time"),
        Column("went back", lambda row: _amounts(row["amounts"])),
        Column("of", "of"),
        Column("reason", "reason", wraps=True),
        Column("transaction", "transaction"),
    )
    each_second = (
        Column("second", "second", "amount"),
        Column("processors", "vcpu_amount", "amount"),
        Column("memory", "memory_amount", "amount"),
        Column("total", "total", "amount"),
    )

    def show(out: Console) -> None:
        _show(out, f"{answer['sandbox']['id']} is {answer['sandbox']['status']}.", answer["sandbox"])
        out.print(table(answer["lines"], lines, empty="nothing was billed yet"))
        if answer["refunds"]:
            out.print(table(answer["refunds"], refunds, title="Refunds", empty=""))
        if answer["lines"]:
            out.print(text(f"In all {_amounts(answer['paid'])} were paid.", "bold"))
        if answer["unbilled_ms"]:
            words = f"{amount(answer['unbilled_ms'])} ms more were lived and will cost {amount(answer['unbilled'])}."
            out.print(text(words))
        if from_second is not None:
            out.print(table(answer["seconds"], each_second, empty="it has not lived that long"))

    return Output(answer, show)


@noun.command("usage")
def usage(
    session: Session,
    *,
    period: Annotated[
        Literal["7d", "30d", "90d"], typer.Option("--period", help="How far back to look.")
    ] = "30d",
    customer: CustomerOption = None,
) -> Output:
    """Show what sandboxes cost, what runs, and until when the credits last."""
    answer = session.remote.get("/sandboxes/usage", period=period, customer=customer)
    done = (
        Column("operation", "operation"),
        Column("times", "count", "amount"),
        Column("amount", lambda row: _amounts(row["amounts"])),
    )
    running = (
        Column("sandbox", "sandbox"),
        Column("name", "name", wraps=True),
        Column("per hour", "per_hour", "amount"),
        Column("cost so far", "cost", "amount"),
        Column("unit", "unit"),
        Column("paid until", "paid_until", "time"),
    )

    def show(out: Console) -> None:
        out.print(table(answer["operations"], done, title="Operations", empty="nothing was done"))
        out.print(table(answer["running"], running, title="Running now", empty="nothing runs"))
        for each in answer["forecast"]:
            until = (
                "for more than ten years"
                if each["lasts_until"] is None
                else f"until {moment(each['lasts_until'])}"
            )
            words = f"What runs costs {units(each['per_hour'], each['unit'])} an hour; what you have lasts {until}."
            out.print(text(words, "bold"))

    return Output(answer, show)


def _amounts(amounts: dict[str, Any]) -> str:
    return ", ".join(units(each, unit) for unit, each in amounts.items())


def _show(out: Console, words: str, answer: dict[str, Any]) -> None:
    out.print(text(words, "green"))
    out.print(answer_facts(answer))


def _show_run(out: Console, answer: dict[str, Any]) -> None:
    """What a program wrote, with nothing in it that could rewrite a terminal; and how it ended."""
    for stream, style in ((answer["stdout"], ""), (answer["stderr"], "red")):
        if stream:
            out.print(text(stream.removesuffix("\n"), style), soft_wrap=True)
    _show_end(out, answer)


def _show_end(out: Console, answer: dict[str, Any]) -> None:
    """How a program ended, unless it ended well."""
    how = [
        word
        for word, is_so in (
            ("killed: its time was over", answer["timed_out"]),
            ("killed: its memory was used up", answer["oom"]),
            ("more was written than is kept", answer["truncated"]),
        )
        if is_so
    ]
    ended = [] if answer["exit_code"] in {0, None} else [("exit code", str(answer["exit_code"]))]
    if ended or how:
        out.print(facts([*ended, *(("note", word) for word in how)]))
