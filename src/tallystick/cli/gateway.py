"""`tally gateway`: a price on the tools of an MCP server that is somebody else's."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.local import DatabaseOption, EconomyOption
from tallystick.cli.options import pair
from tallystick.core.errors import ConfigurationError

if TYPE_CHECKING:
    from fastmcp import FastMCP

    from tallystick.metering.price_file import PriceFile
    from tallystick.metering.upstream import Upstream

_PATH: Final = "/mcp"
_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")


UpstreamOption = Annotated[
    str, typer.Option("--upstream", help="The server: the command that runs it, or its http(s) address.")
]
PricesOption = Annotated[Path, typer.Option("--prices", help="The file with the price of each tool.")]
PayerOption = Annotated[
    str | None, typer.Option("--customer", help="Who pays on stdio; whoever TALLY_API_KEY is for if absent.")
]
HttpOption = Annotated[
    bool, typer.Option("--http", help="Serve over HTTP, where each caller pays by its own key.")
]
HostOption = Annotated[str, typer.Option("--host", help="Which address to listen on.")]
PortOption = Annotated[int, typer.Option("--port", min=1, max=65535, help="Which port to listen on.")]
EnvOption = Annotated[
    list[str] | None,
    typer.Option(
        "--env", metavar="NAME[=VALUE]", help="A variable of the command; without a value, as it is here."
    ),
]
HeaderOption = Annotated[
    list[str] | None,
    typer.Option(
        "--header", metavar="NAME=VALUE", help="A header for the address; ${NAME} in it is a variable."
    ),
]
ForwardOption = Annotated[
    list[str] | None,
    typer.Option("--forward", metavar="NAME", help="A header of callers that the address is sent too."),
]
UnsettledOption = Annotated[
    Path | None,
    typer.Option("--unsettled-file", help="Where charges wait while the billing server is away."),
]


def register(root: Noun) -> None:
    """Put the command under the root."""
    root.command("gateway")(gateway)


def gateway(
    session: Session,
    *,
    upstream: UpstreamOption,
    prices: PricesOption = Path("gateway.toml"),
    customer: PayerOption = None,
    http: HttpOption = False,
    host: HostOption = "127.0.0.1",
    port: PortOption = 8081,
    env: EnvOption = None,
    header: HeaderOption = None,
    forward: ForwardOption = None,
    unsettled_file: UnsettledOption = None,
    database_url: DatabaseOption = None,
    economy: EconomyOption = None,
) -> Output:
    """Put prices on an existing MCP server: serve its tools on standard input and output, or over HTTP.

    Charges go to the database, or to the running server that --url or TALLY_URL names, with TALLY_API_KEY.
    """
    from tallystick.api import logs
    from tallystick.cli.gateway_billing import open_billing
    from tallystick.cli.stdin import ends_with_signals
    from tallystick.metering.gateway import CustomerKeys, build_gateway
    from tallystick.metering.price_file import read_price_file
    from tallystick.metering.upstream import Connections

    if http and customer is not None:
        raise typer.BadParameter("with --http, each caller pays by its own key: leave --customer away")
    logs.configure()
    behind = _upstream(upstream, env, header, forward)
    listed = read_price_file(prices)
    _check_lending(listed, unsettled_file)
    listening = _listen(host, port) if http else None
    with open_billing(
        session, unsettled_file=unsettled_file, database_url=database_url, economy=economy
    ) as billing:
        listed.check_meters(billing.metering.prices())
        connections = Connections(behind, one_caller=not http)
        if listening is not None:
            keys = CustomerKeys(billing.customer_of)
            server = build_gateway(connections, listed, billing.metering, auth=keys)
            _serve_http(session, server, listening)
        else:
            payer = billing.payer(customer)
            server = build_gateway(connections, listed, billing.metering, customer=payer)
            with ends_with_signals():
                server.run(transport="stdio", show_banner=False)
    return Output(None, lambda _out: None)


def _upstream(
    target: str, env: list[str] | None, header: list[str] | None, forward: list[str] | None
) -> Upstream:
    from tallystick.metering.upstream import Upstream

    environ = dict(pair(each) if "=" in each else (each, _variable(each, "--env")) for each in env or ())
    headers = {
        name: _VARIABLE.sub(lambda found: _variable(found[1], "--header"), value)
        for name, value in map(pair, header or ())
    }
    return Upstream(target=target, environ=environ, headers=headers, forwarded=tuple(forward or ()))


def _variable(name: str, option: str) -> str:
    if name not in os.environ:
        raise ConfigurationError(f"{option}: expected the variable {name} to be set")
    return os.environ[name]


def _check_lending(prices: PriceFile, unsettled_file: Path | None) -> None:
    if prices.lends and unsettled_file is None:
        raise ConfigurationError(
            f"{prices.where}: expected --unsettled-file for a when_away that lends: it is written down there"
        )


def _listen(host: str, port: int) -> socket.socket:
    """Take the address first, so that a gateway that cannot listen starts nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(f"cannot listen on {host}, port {port}: {reason}; choose another") from error


def _serve_http(session: Session, server: FastMCP[Any], listening: socket.socket) -> None:
    """Serve until SIGTERM or SIGINT, which the library raises again at its end: by then everything shall be closed."""
    before = {number: signal.signal(number, _ignore) for number in (signal.SIGTERM, signal.SIGINT)}
    host, port = listening.getsockname()[:2]
    address = f"http://{f'[{host}]' if ':' in host else host}:{port}{_PATH}"
    said = f"The gateway listens on {address}"
    typer.echo(json.dumps({"message": said}) if session.as_json else said)
    try:
        server.run(
            transport="http",
            host=host,
            port=port,
            path=_PATH,
            show_banner=False,
            host_origin_protection="auto",
            uvicorn_config={"log_config": None, "access_log": False, "server_header": False},
            sockets=[listening],
        )
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _ignore(_number: int, _frame: object) -> None:
    """Ended already."""
