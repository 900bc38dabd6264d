"""`tally mcp`: the MCP server over stdio, on a database of one's own or in front of a server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tallystick.cli import credentials
from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.local import DatabaseOption, EconomyOption, read_config, without_password
from tallystick.cli.problems import Problem
from tallystick.core import errors
from tallystick.core.errors import Refusal

if TYPE_CHECKING:
    from tallystick.mcp.answers import LoggedIn

noun = Noun("mcp", "The MCP server that agents talk to.")


@noun.command("start")
def start(session: Session, *, database_url: DatabaseOption = None, economy: EconomyOption = None) -> Output:
    """Serve MCP on standard input and output, until the client hangs up.

    It works on the database itself, or in front of a running server where --url or TALLY_URL names one. Who asks is said by
    TALLY_API_KEY, or by the last user_login.
    """
    from tallystick.api import logs

    logs.configure()
    if session.asked_url or session.settings.get("TALLY_URL"):
        _in_front_of_server(session)
    else:
        _on_database(session, database_url=database_url, economy=economy)
    return Output(None, lambda _out: None)


def _on_database(session: Session, *, database_url: str | None, economy: str | None) -> None:
    from tallystick.bootstrap import Tally
    from tallystick.mcp.server import build
    from tallystick.worker import Worker

    config = read_config(database_url=database_url, economy=economy)
    with Tally.from_config(config, runs_sandboxes=True) as tally:
        worker = Worker(tally)
        worker.start()
        try:
            callers = KeptCallers(_place_of(config.database_url), session.api_key)
            build(tally, callers).run(transport="stdio", show_banner=False)
        finally:
            worker.stop()


def _place_of(database_url: str) -> str:
    """What a login is kept under: the database, from wherever the program was started."""
    from tallystick.store.engine import parse_url

    url = parse_url(database_url)
    if url.get_backend_name() == "sqlite":
        return f"sqlite:///{Path(str(url.database)).resolve()}"
    return without_password(database_url)


def _in_front_of_server(session: Session) -> None:
    from tallystick.mcp.stdio import build_remote

    session.remote_as(None)  # Refuses an address that is none before an agent asks anything.
    callers = KeptCallers(session.url, session.api_key)
    server = build_remote(session.url, callers, RestDoor(session, callers))
    server.run(transport="stdio", show_banner=False)


class KeptCallers:
    """Who asks: the key of the environment, or else the login that is kept in the user's own folder."""

    keeps_logins = True

    def __init__(self, place: str, api_key: str | None) -> None:
        self._place = place
        self._api_key = api_key

    def token(self) -> str | None:
        """The key or the token of the login. Raises a ``Refusal`` where the file of logins cannot be read."""
        if self._api_key:
            return self._api_key
        with told_to_agents():
            saved = credentials.find(self._place)
        return None if saved is None else str(saved["token"])

    def keep(self, token: str, *, email: str, expires_at: str) -> None:
        """Keep a login, where nobody else can read it, and go by it from now on."""
        with told_to_agents():
            credentials.save(self._place, token=token, email=email, expires_at=expires_at)
        self._api_key = None

    def forget(self) -> None:
        """Forget the login."""
        with told_to_agents():
            credentials.forget(self._place)


class RestDoor:
    """A remote server's logins, by its REST interface."""

    def __init__(self, session: Session, callers: KeptCallers) -> None:
        self._session = session
        self._callers = callers

    def register(self, email: str, password: str) -> LoggedIn:
        """Register and keep the login."""
        body = {"email": email, "password": password}
        made = self._ask(None, lambda remote: remote.post("/auth/register", body, repeatable=False))
        return self._kept(made)

    def login(self, email: str, password: str) -> LoggedIn:
        """Log in and keep it."""
        made = self._ask(
            None, lambda remote: remote.post("/auth/login", {"email": email, "password": password})
        )
        return self._kept(made)

    def logout(self) -> None:
        """End the login here and there."""
        self._ask(self._callers.token(), lambda remote: remote.post("/auth/logout"))
        self._callers.forget()

    def trouble(self) -> Refusal | None:
        """Why the server answers nothing, if it does not."""
        from tallystick.tool_results import RefusedElsewhere

        try:
            self._ask(self._callers.token(), lambda remote: remote.get("/auth/me"))
        except RefusedElsewhere as refusal:
            if refusal.said != errors.NotAuthenticated.code:
                return refusal
            return errors.NotAuthenticated(
                f"{self._session.url} does not know who asks: set TALLY_API_KEY to a key that is valid there, "
                "or log in with user_login"
            )
        return None

    def _kept(self, made: dict[str, Any]) -> LoggedIn:
        from tallystick.mcp.answers import LoggedIn, User
        from tallystick.mcp.answers import Session as Login

        token, until = str(made["token"]), str(made["expires_at"])
        me = self._ask(token, lambda remote: remote.get("/auth/me"))
        balance = self._ask(token, lambda remote: remote.get("/billing/balance"))
        email = str(me["email"])
        self._callers.keep(token, email=email, expires_at=until)
        credits_ = balance["balance"]
        return LoggedIn(
            user=User(id=str(me["user"]), email=email, customer=str(balance["customer"])),
            session=Login(expires_at=until, saved=True),
            credits=credits_ if isinstance(credits_, int) else float(credits_),
        )

    def _ask(self, token: str | None, work: Any) -> Any:  # noqa: ANN401 - JSON
        with told_to_agents():
            return work(self._session.remote_as(token))


@contextmanager
def told_to_agents() -> Iterator[None]:
    """Gives what the command line would print the form in which agents are refused."""
    from tallystick.tool_results import RefusedElsewhere

    try:
        yield
    except Problem as problem:
        raise RefusedElsewhere(problem.code, problem.detail, **problem.fields) from problem
