"""What needs no server: `init`, `audit`, `worker --once`, `economy` and `bench`."""

import stat
from contextlib import closing
from pathlib import Path

import pytest

from tallystick.bootstrap import Tally
from tallystick.core.ids import to_text
from tallystick.core.times import DAY, parse_rfc3339
from tallystick.services.context import SYSTEM
from tallystick.services.pricing import Usage
from tallystick.store.engine import Database
from tests.doors.cli.program import ECONOMY, Program, read
from tests.postgres import temporary_database

START = parse_rfc3339("2020-01-01T00:00:00Z")

LOOKUP = 'description = "One look-up"\nprice = 1\n'

BAD = """[economy]
title = 3
primary_unit = "creditz"
default_plan = "free"
[units.credits]
description = "C"
[plans.free]
title = "Free"
price_usd = -1
"""


@pytest.fixture
def economy(tmp_path: Path) -> str:
    """An economy file in the folder."""
    (tmp_path / "terminal.toml").write_text(ECONOMY)
    return "terminal.toml"


# --- init ----------------------------------------------------------------------------------------------------


def test_init_sets_everything_up(local: Program, blank_database_url: str, economy: str) -> None:
    """Settings, schema, economy and an admin key, on an empty database."""
    made = local.ask("init", "--database-url", blank_database_url, "--economy", economy)
    assert {"path": ".env", "written": True} == made["env_file"]
    assert made["admin_key"].startswith("tly_")
    assert ("terminal", "test") == (made["economy"], made["mode"])
    assert "0o600" == oct(stat.S_IMODE(Path(".env").stat().st_mode))
    with Tally.open(blank_database_url, economy=economy) as tally:
        assert tally.identity.authenticate(made["admin_key"], tally.context.now()).is_admin


def test_init_twice_is_safe(local: Program, blank_database_url: str, economy: str) -> None:
    """The second time keeps the settings, the database and the key, and shows no other one."""
    first = local.ask("init", "--database-url", blank_database_url, "--economy", economy)
    settings = Path(".env").read_text()
    shown = local.show("init")
    assert "stays as it is" in shown
    assert first["admin_key"] not in shown
    assert settings == Path(".env").read_text()
    again = local.ask("init")
    assert (None, first["economy_version"]) == (again["admin_key"], again["economy_version"])


def test_init_shows_the_key_and_what_is_next(local: Program) -> None:
    """People see the key once, whole, with the next commands."""
    shown = local.show("init")
    assert "tly_" in shown
    assert "not shown again" in shown
    assert "tally serve" in shown


def test_init_takes_a_key_of_ones_own(local: Program) -> None:
    """TALLY_ADMIN_KEY is the key from the start, and is neither shown nor written down."""
    local.environ["TALLY_ADMIN_KEY"] = "a-key-of-my-own"
    made = local.ask("init")
    assert made["admin_key"] is None
    assert "a-key-of-my-own" not in Path(".env").read_text()
    with Tally.open("sqlite:///tally.db") as tally:
        assert tally.identity.authenticate("a-key-of-my-own", tally.context.now()).is_admin


def test_settings_with_odd_characters_are_read_back(local: Program) -> None:
    """What init writes is what the next command reads."""
    odd = f"sqlite:///{Path.cwd()}/it's a # \\ folder/tally.db"
    local.ask("init", "--database-url", odd)
    assert Path("it's a # \\ folder/tally.db").is_file()
    assert local.ask("audit")["ok"]


def test_a_wrong_economy_sets_nothing_up(local: Program) -> None:
    """Neither settings nor a database that would have to be cleaned up."""
    assert "configuration_error" == local.problem("init", "--economy", "nosuch")["code"]
    assert not Path(".env").exists()


def test_passwords_are_not_shown(local: Program, postgres_server: str) -> None:
    """A database's address is shown without its password, and kept with it for the owner."""
    with temporary_database(postgres_server) as url:
        made = local.ask("init", "--database-url", url.replace("postgres@", "postgres:secret@"))
        assert "secret" not in made["database_url"]
        assert "secret" in Path(".env").read_text()


def test_a_database_that_is_away_is_told(local: Program) -> None:
    """What could not be reached, without its password, and what to look at."""
    url = "postgresql://me:secret@127.0.0.1:9/tally"
    for command in (["init"], ["audit"], ["worker", "--once"]):
        told = local.refused(*command, "--database-url", url)
        assert "service_unavailable" in told
        assert "TALLY_DATABASE_URL" in told
        assert "secret" not in told
    assert not Path(".env").exists()


@pytest.mark.parametrize("command", ["serve", "worker", "audit", "init"])
def test_a_file_that_is_no_database_is_told(local: Program, command: str) -> None:
    """Like other addresses that are wrong, by name; the file stays as it was."""
    file = Path("notes.txt").absolute()
    file.write_text("a list of what to buy\n")
    local.environ["TALLY_DATABASE_URL"] = f"sqlite:///{file}"
    told = local.refused(command)
    assert f"\nTALLY_DATABASE_URL: {file} is not a SQLite database\n" in told
    assert "a list of what to buy\n" == file.read_text()


@pytest.mark.parametrize("command", ["serve", "worker", "init"])
def test_a_setting_that_is_wrong_is_told(local: Program, command: str) -> None:
    """The variable is named; live mode wants real payments; nothing is made."""
    assert "nosuch" in local.refused(command, "--economy", "nosuch")
    for name, value, words in (
        ("TALLY_DATABASE_URL", "mysql://x", "TALLY_DATABASE_URL"),
        ("TALLY_MODE", "production", "TALLY_MODE"),
        ("TALLY_MODE", "live", "STRIPE_SECRET_KEY"),
    ):
        local.environ[name] = value
        assert words in local.refused(command)
        local.environ[name] = None
    assert not Path(".env").exists()


# --- audit and worker ----------------------------------------------------------------------------------------


@pytest.fixture
def ledger(database_url: str, economy: str) -> str:
    """The URL of a database with a customer who was charged, and whose bonus expired meanwhile."""
    with Tally.open(database_url, economy=economy, source=lambda: START) as tally:
        number = tally.customers.create(SYSTEM, external_id="ann").value.id
        ann = to_text("cust", number)
        tally.charges.create(SYSTEM, Usage(meter="lookup", customer=ann), idempotency_key="1")
        tally.grants.create(
            SYSTEM, customer=ann, amount=5, category="bonus", expires_at=START + DAY, idempotency_key="2"
        )
    return database_url


def test_an_audit_finds_nothing_wrong(local: Program, ledger: str) -> None:
    """Every rule is listed with what was checked."""
    report = local.ask("audit", "--database-url", ledger)
    assert (True, list(range(1, 10))) == (report["ok"], [rule["number"] for rule in report["rules"]])
    assert 10 < sum(rule["checked"] for rule in report["rules"])
    shown = local.show("audit", "--database-url", ledger)
    assert "every rule holds" in shown
    assert "debits equal credits" in shown


def test_an_audit_finds_what_was_edited(local: Program, ledger: str) -> None:
    """Status 1, the rule, the row, what was expected and what is there."""
    with closing(Database(ledger)) as database, database.write() as connection:
        connection.exec_driver_sql("UPDATE wallets SET balance = balance + 1000000")
    result = local.call("audit", "--database-url", ledger)
    assert 1 == result.exit_code
    assert "The ledger does not hold" in result.stdout
    assert "wallets" in result.stdout
    result = local.call("audit", "--database-url", ledger, "--json")
    report = read(result.stdout)
    assert (1, False) == (result.exit_code, report["ok"])
    broken = [rule for rule in report["rules"] if rule["count"]]
    assert broken
    assert {"where", "expected", "found"} == set(broken[0]["violations"][0])


def test_an_audit_makes_and_changes_nothing(local: Program, blank_database_url: str) -> None:
    """No file is created and no schema: a database that is none is told."""
    problem = local.problem("audit", "--database-url", blank_database_url)
    assert "no_database" == problem["code"]
    assert "tally init" in problem["what_to_do"]
    assert not Path("blank.db").exists()
    assert "no_database" == local.problem("audit")["code"]
    assert not Path("tally.db").exists()


def test_an_audit_reads_the_settings(local: Program, ledger: str) -> None:
    """TALLY_DATABASE_URL names the database when no option does."""
    local.environ["TALLY_DATABASE_URL"] = ledger
    assert local.ask("audit")["ok"]


def test_a_worker_does_what_is_due_and_leaves(local: Program, ledger: str, economy: str) -> None:
    """With `--once` for cron: what expired meanwhile is booked, and the second time nothing is due."""
    where = ["worker", "--once", "--database-url", ledger, "--economy", economy]
    assert {"job": "expiry", "count": 1} in local.ask(*where)["ran"]
    assert "nothing was due" in local.show(*where)


# --- economies -----------------------------------------------------------------------------------------------


def test_a_bad_economy_is_explained_by_key_and_line(local: Program) -> None:
    """All mistakes at once, each with its line, what was expected and what stands there; status 1."""
    Path("bad.toml").write_text(BAD)
    result = local.call("economy", "check", "bad.toml")
    assert 1 == result.exit_code
    assert "bad.toml has 3 problems" in result.stdout
    for words in ("economy.title", "plans.free.price_usd", "creditz", "one of credits"):
        assert words in result.stdout
    result = local.call("--json", "economy", "check", "bad.toml")
    found = read(result.stdout)
    assert (1, False, [2, 3, 9]) == (
        result.exit_code,
        found["ok"],
        [each["line"] for each in found["errors"]],
    )


@pytest.mark.parametrize("name", ["starter", "flow-nexus", "e2b", "flux", "nexus"])
def test_shipped_economies_are_valid_and_shown(local: Program, name: str) -> None:
    """Each is checked, listed and readable, with all of its prices."""
    checked = local.ask("economy", "check", name)
    assert (True, name) == (checked["ok"], checked["economy"])
    listed = {each["economy"]: each["economy_version"] for each in local.ask("economy", "list")["economies"]}
    assert checked["economy_version"] == listed[name]
    shown, data = local.show("economy", "show", name), local.ask("economy", "show", name)
    assert data["title"] in shown
    for meter in data["meters"]:
        assert meter["meter"] in shown
    for plan in data["plans"]:
        assert plan["plan"] in shown


def test_prices_are_put_in_words(local: Program) -> None:
    """Flat, per unit, graduated, with a limit, free."""
    shown = " ".join(local.show("economy", "show", "starter").split())
    assert "0.5 up to 100, then 0.25 up to 1,000, then 0.1 credits each (graduated)" in shown
    assert "free" in shown
    assert "120" in shown
    assert "0.0000045 USD each" in local.show("economy", "show", "e2b")


def test_what_changes_for_whom(local: Program, economy: str) -> None:
    """One line for each change, with whom it affects; the same file changes nothing."""
    assert ECONOMY.count(LOOKUP) == 1
    Path("new.toml").write_text(ECONOMY.replace(LOOKUP, LOOKUP.replace("1", "2")))
    [change] = local.ask("economy", "diff", economy, "new.toml")["changes"]
    assert ("1 credit", "2 credits") == (change["old"], change["new"])
    assert change["path"].startswith("meter lookup")
    assert change["affects"] in " ".join(local.show("economy", "diff", economy, "new.toml").split())
    assert "nothing changes" in local.show("economy", "diff", economy, economy)
    assert [] == local.ask("economy", "diff", "starter", "starter")["changes"]


def test_a_file_that_is_not_there_is_told(local: Program) -> None:
    """With the names of those that come with the package."""
    for command in (["check"], ["show"], ["diff", "starter"]):
        told = local.refused("economy", *command, "nosuch.toml")
        assert "nosuch.toml" in told
        assert "flow-nexus" in told


# --- bench ---------------------------------------------------------------------------------------------------


def test_a_bench_gives_its_figures(local: Program) -> None:
    """The figures of the contract, from real charges; its database is gone afterwards."""
    before = set(Path.cwd().iterdir())
    figures = local.ask("bench", "--clients", "2", "--seconds", "1", "--wallets", "3")
    promised = {
        "engine",
        "clients",
        "wallets",
        "batch_mean",
        "charges_per_s",
        "p50_ms",
        "p99_ms",
        "cpu_s",
        "fsync_ms",
    }
    assert promised <= set(figures)
    assert ("sqlite", 2, 3) == (figures["engine"], figures["clients"], figures["wallets"])
    assert 0 < figures["charges_per_s"]
    assert before == set(Path.cwd().iterdir())


def test_a_bench_on_postgresql_wants_a_database(local: Program, postgresql_url: str) -> None:
    """It is never guessed: the benchmark fills it."""
    assert "configuration_error" == local.problem("bench", "--engine", "postgresql", "--seconds", "1")["code"]
    options = ["--engine", "postgresql", "--database-url", postgresql_url]
    shown = local.show("bench", *options, "--seconds", "1", "--clients", "2", "--wallets", "3")
    assert "postgresql" in shown
    assert "charges per s" in shown
