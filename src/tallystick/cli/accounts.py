"""`tally auth`: register, log in and out, and see who one is."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.console import Console

from tallystick.cli import credentials
from tallystick.cli.frame import Noun, Output, Session
from tallystick.cli.problems import Problem
from tallystick.cli.rendering import answer_facts, facts, moment, text

noun = Noun("auth", "Register, log in and out, and see who you are.")

EmailOption = Annotated[
    str | None, typer.Option("--email", "-e", help="The email address; asked for if absent.")
]
PasswordOption = Annotated[
    str | None,
    typer.Option(
        "--password",
        "-p",
        help="The password; asked for if absent, which keeps it out of your shell's history.",
    ),
]


@noun.command("register")
def register(
    session: Session,
    *,
    email: EmailOption = None,
    password: PasswordOption = None,
    referral_code: Annotated[
        str | None, typer.Option("--referral-code", help="The code of whoever sent you.")
    ] = None,
) -> Output:
    """Open an account with the credits that the economy gives at sign-up, and log in."""
    credentials.find(session.url)  # Whether logins can be saved is seen before anything is done.
    address, secret = email or _ask_email(), password or _ask_password(twice=True)
    body = {"email": address, "password": secret, "referral_code": referral_code}
    answer = session.remote_as(None).post("/auth/register", body, repeatable=False)
    _save(session, answer, address)

    def show(out: Console) -> None:
        balance = answer.get("balance") or {}
        out.print(text(f"Welcome, {answer['user']['email']}: you are registered and logged in.", "green"))
        out.print(
            facts(
                [
                    ("customer", answer["customer"]["id"]),
                    ("balance", balance.get("balance")),
                    ("unit", balance.get("unit")),
                    ("plan", balance.get("tier")),
                ]
            )
        )
        _warn_of_key(session, out)

    return Output(answer, show)


@noun.command("login")
def login(session: Session, *, email: EmailOption = None, password: PasswordOption = None) -> Output:
    """Log in: the token is kept for this server in your own folder, where nobody else may read it."""
    credentials.find(session.url)  # as for registering
    body = {"email": email or _ask_email(), "password": password or _ask_password(twice=False)}
    answer = session.remote_as(None).post("/auth/login", body)
    where = _save(session, answer, body["email"])

    def show(out: Console) -> None:
        out.print(text(f"Logged in to {session.url} as {body['email']}.", "green"))
        out.print(facts([("until", moment(answer.get("expires_at"))), ("kept in", str(where))]))
        _warn_of_key(session, out)

    return Output(answer, show)


@noun.command("logout")
def logout(session: Session) -> Output:
    """End the saved login of this server, there and here."""
    saved = credentials.find(session.url)
    if saved is not None:
        try:
            session.remote_as(saved["token"]).post("/auth/logout")
        except Problem as problem:
            if problem.code != "not_authenticated":  # Ended already, which is what was wanted.
                raise
        credentials.forget(session.url)

    def show(out: Console) -> None:
        out.print(
            text(f"Logged out of {session.url}." if saved else f"There is no saved login for {session.url}.")
        )
        _warn_of_key(session, out)

    return Output({"logged_out": saved is not None, "url": session.url}, show)


@noun.command("status")
def status(session: Session) -> Output:
    """Show who you are to the server, and what says so."""
    answer = session.remote.get("/auth/me")
    source = "TALLY_API_KEY" if session.api_key else "saved login"

    def show(out: Console) -> None:
        out.print(answer_facts({"server": session.url, **answer, "through": source}))

    return Output({"url": session.url, "source": source, **answer}, show)


def _ask_email() -> str:
    return str(typer.prompt("Email", err=True))


def _ask_password(*, twice: bool) -> str:
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=twice, err=True))


def _save(session: Session, answer: dict[str, Any], email: str) -> object:
    return credentials.save(
        session.url, token=answer["token"], email=email, expires_at=answer.get("expires_at")
    )


def _warn_of_key(session: Session, out: Console) -> None:
    if session.api_key:
        out.print(text("TALLY_API_KEY is set and goes before saved logins: unset it to use them.", "yellow"))
