"""`tally auth`: registering, logging in and out, and whose word counts."""

import json
import stat
from pathlib import Path

import pytest

from tests.doors.cli.program import Program
from tests.servers import ADMIN_KEY

PASSWORD = "correct horse"


@pytest.fixture
def email(name: str) -> str:
    """An address that nobody has."""
    return f"{name}@example.test"


def saved(program: Program) -> Path:
    """Where the logins are."""
    return program.folder / "config" / "tallystick" / "credentials.json"


def test_registering_logs_in(visitor: Program, email: str) -> None:
    """A new user has the credits of sign-up and needs nothing else."""
    shown = visitor.show("auth", "register", "-e", email, "-p", PASSWORD)
    assert f"Welcome, {email}" in shown
    assert "100" in shown
    assert PASSWORD not in shown
    status = visitor.ask("auth", "status")
    assert (email, "user", "saved login") == (status["email"], status["role"], status["source"])
    assert 100 == visitor.ask("ruv", "balance")["credits"]
    assert "email_taken" == visitor.problem("auth", "register", "-e", email, "-p", PASSWORD)["code"]


def test_the_token_is_its_users_own(visitor: Program, email: str) -> None:
    """Nobody else may read the file, people are not shown the token, and programs are."""
    answer = visitor.ask("auth", "register", "-e", email, "-p", PASSWORD)
    mode = stat.S_IMODE(saved(visitor).stat().st_mode)
    assert "0o600" == oct(mode)
    assert answer["token"] == json.loads(saved(visitor).read_text())[visitor.url]["token"]
    assert "tls_" not in visitor.show("auth", "login", "-e", email, "-p", PASSWORD)


def test_passwords_are_asked_for(visitor: Program, email: str) -> None:
    """What is not given is asked for; a new password twice; nothing of it is shown."""
    typed = f"{email}\n{PASSWORD}\n{PASSWORD}\n"
    result = visitor.call("auth", "register", "--json", typed=typed)
    assert 0 == result.exit_code
    shown = result.stdout[result.stdout.index("{") :]  # after what was typed, which a terminal would show
    assert email == json.loads(shown)["user"]["email"]
    result = visitor.call("auth", "login", "-e", email, typed=f"{PASSWORD}\n")
    assert 0 == result.exit_code
    assert PASSWORD not in result.output
    assert 1 == visitor.call("auth", "login").exit_code  # nobody there to type


def test_logging_out_ends_it_on_both_sides(visitor: Program, email: str) -> None:
    """The token works no longer, and is gone; twice is no harm."""
    token = visitor.ask("auth", "register", "-e", email, "-p", PASSWORD)["token"]
    assert {"logged_out": True, "url": visitor.url} == visitor.ask("auth", "logout")
    assert {} == json.loads(saved(visitor).read_text())
    assert "There is no saved login" in visitor.show("auth", "logout")
    told = visitor.refused("auth", "status")
    assert "not_authenticated" in told
    assert "tally auth login" in told
    thief = Program(visitor.url, visitor.folder, key=token)
    assert "not_authenticated" == thief.problem("auth", "status")["code"]


def test_a_session_that_ended_elsewhere_is_forgotten(visitor: Program, email: str) -> None:
    """Logging out of it is what was wanted."""
    token = visitor.ask("auth", "register", "-e", email, "-p", PASSWORD)["token"]
    other = Program(visitor.url, visitor.folder / "other", key=None)
    other.ask("auth", "login", "-e", email, "-p", PASSWORD)
    path = saved(other)
    path.write_text(path.read_text().replace(json.loads(path.read_text())[other.url]["token"], token))
    visitor.ask("auth", "logout")
    assert other.ask("auth", "logout")["logged_out"]
    assert {} == json.loads(path.read_text())


def test_a_wrong_password_is_refused(visitor: Program, email: str) -> None:
    """And nothing is saved."""
    assert "invalid_credentials" == visitor.problem("auth", "login", "-e", email, "-p", PASSWORD)["code"]
    assert not saved(visitor).exists()


def test_a_login_is_for_one_server(visitor: Program, email: str) -> None:
    """The token goes to the server that gave it and to no other."""
    visitor.ask("auth", "register", "-e", email, "-p", PASSWORD)
    elsewhere = visitor.url.replace("127.0.0.1", "localhost")
    assert "not_authenticated" == visitor.problem("--url", elsewhere, "auth", "status")["code"]
    visitor.ask("--url", elsewhere, "auth", "login", "-e", email, "-p", PASSWORD)
    assert {visitor.url, elsewhere} == set(json.loads(saved(visitor).read_text()))


def test_the_environment_goes_before_a_login(visitor: Program, email: str) -> None:
    """TALLY_API_KEY decides, and logging in says so."""
    visitor.ask("auth", "register", "-e", email, "-p", PASSWORD)
    admin = Program(visitor.url, visitor.folder, key=ADMIN_KEY)
    status = admin.ask("auth", "status")
    assert ("admin", "TALLY_API_KEY") == (status["role"], status["source"])
    assert "TALLY_API_KEY is set" in admin.show("auth", "login", "-e", email, "-p", PASSWORD)


def test_an_env_file_is_read(visitor: Program) -> None:
    """A `.env` file in the folder may hold the address and the key; the environment goes before it."""
    Path(".env").write_text(f"TALLY_URL={visitor.url}\nTALLY_API_KEY={ADMIN_KEY}\n")
    assert "admin" == visitor.ask("auth", "status")["role"]
    visitor.environ["TALLY_URL"] = None
    assert "admin" == visitor.ask("auth", "status")["role"]
    visitor.environ["TALLY_API_KEY"] = "tly_wrong"
    assert "not_authenticated" == visitor.problem("auth", "status")["code"]


def test_a_broken_file_of_logins_is_told(visitor: Program, email: str) -> None:
    """Its path and what to do about it; nothing is lost by overwriting."""
    saved(visitor).parent.mkdir(parents=True)
    saved(visitor).write_text("{broken")
    told = visitor.problem("auth", "status")
    assert "credentials_unusable" == told["code"]
    assert str(saved(visitor)) in told["detail"]
    assert "credentials_unusable" == visitor.problem("auth", "login", "-e", email, "-p", "x")["code"]
    assert "{broken" == saved(visitor).read_text()
