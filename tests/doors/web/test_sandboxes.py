"""Sandboxes on the dashboard: made, watched, extended, ended, explained, refused, and what hostile ones show."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
from playwright.sync_api import APIResponse, Page

from tallystick.api.answers.sandboxes import Reason
from tallystick.core.ids import to_text
from tallystick.core.sandboxes import STATUSES
from tallystick.ports.sandboxes import Execution
from tallystick.services.context import SYSTEM, Caller
from tallystick.services.sandboxes import Wish
from tallystick.web.words import SANDBOX_REASONS, SANDBOX_WORDS
from tests.doors.web.axe import serious
from tests.doors.web.dashboard import RUNS_SANDBOXES, Dashboard, dashboard
from tests.services.scripted_sandboxes import ScriptedSandboxes

pytestmark = pytest.mark.slow

LIST = "/billing/sandboxes"
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)>"
QUIET = Execution(exit_code=0, stdout=b"", stderr=b"", duration_ms=5)
NAME = "</title><script>alert(2)</script>"


class Lab:
    """Somebody at a dashboard with sandboxes, and short words for what becomes of them."""

    def __init__(self, found: Dashboard, provider: ScriptedSandboxes) -> None:
        self.found, self.provider, self.tally, self.page = found, provider, found.tally, found.page
        self._keys = (f"key {number}" for number in itertools.count())

    def make(self, *, caller: Caller | None = None, **terms: Any) -> str:
        """A sandbox that was made elsewhere; gives its id."""
        wish = Wish(template="python", **terms)
        made = self.tally.sandboxes.create(
            caller or self.found.caller, wish, idempotency_key=next(self._keys)
        )
        return to_text("sbx", made.value.id)

    def run(self, sandbox: str, code: str = "true", *, answer: Execution = QUIET) -> None:
        """Something that is run in it."""
        self.provider.answer = answer
        self.tally.sandbox_runs.execute(
            self.found.caller, sandbox, code=code, language="bash", idempotency_key=next(self._keys)
        )

    def pass_time(self, seconds: int) -> None:
        """Time passes, and is seen."""
        for _ in range(0, seconds, 60):
            self.found.server.clock.micros += 60_000_000
            self.provider.advance(60_000)
            self.tally.sandbox_keeper.run_once()

    def running(self) -> list[str]:
        """Those that run."""
        found = self.tally.sandboxes.list(self.found.caller, status="running").items
        return [to_text("sbx", row.id) for row in found]

    def state(self, sandbox: str) -> tuple[str, str | None]:
        """Its status, and why it stopped."""
        row = self.tally.sandboxes.get(SYSTEM, sandbox)
        return row.status, row.reason

    def see(self, sandbox: str, query: str = "", *, page: Page | None = None) -> str:
        """The page of one of them; gives its words."""
        return self.found.go(f"{LIST}/{sandbox}{query}", page)

    def form(self, *names: str) -> dict[str, str | float | bool]:
        """Some of the fields of the page's first form."""
        form = self.page.locator("main form[method=post]").first
        return {name: form.locator(f"input[name={name}]").input_value() for name in names}

    def send(self, path: str, fields: dict[str, str | float | bool]) -> APIResponse:
        """A form as this browser would send it, and where it leads to."""
        return self.page.request.post(f"{self.found.server.url}{path}", form=fields)


@pytest.fixture
def lab(sqlite_url: str, tmp_path: Path) -> Iterator[Lab]:
    """100 credits, 5 dollars, and a plan for three sandboxes at a time."""
    provider = ScriptedSandboxes()
    with dashboard(sqlite_url, tmp_path, economy=RUNS_SANDBOXES, sandboxes=provider) as found:
        yield Lab(found, provider)


def test_a_sandbox_is_made_watched_extended_and_stopped(lab: Lab) -> None:
    """By forms alone; two clicks make one, and ending it asks first."""
    page = lab.page
    lab.found.go("/billing")
    page.click("nav >> text=Sandboxes")
    assert "Nothing runs now" in page.inner_text("main")
    assert "2 vCPU and 512 MiB costs 0.1089 USD per hour" in page.inner_text("main")
    page.select_option("select[name=template]", "node")
    page.fill("input[name=name]", "Try it")
    page.fill("input[name=timeout]", "1200")
    page.dblclick("text=Make the sandbox >> visible=true")
    page.wait_for_url(f"**{LIST}/sbx_*")
    [sandbox] = lab.running()
    assert sandbox in page.url
    assert ["Sandbox Try it"] == page.locator("h1").all_inner_texts()
    assert "Running." in page.inner_text("[data-live]")
    assert "2027-01-10 12:20 UTC" in page.inner_text("[data-live]")
    page.fill("input[name=timeout]", "3600")
    page.click("text=Extend it")
    page.wait_for_selector("[data-live] >> text=2027-01-10 13:00 UTC")
    page.click("summary:has-text('Stop')")
    assert "all that is in it is lost" in page.inner_text("main")
    page.click("button[value=stop]")
    page.wait_for_selector("text=You ended it, or a program of yours did.")
    assert ("stopped", "requested") == lab.state(sandbox)
    assert 0 == page.locator("button[value=stop]").count()


def test_what_runs_is_shown_as_it_is_now(lab: Lab) -> None:
    """Cost, new ones and those that end appear while somebody looks, and what was focused stays so."""
    page, sandbox = lab.page, lab.make(name="First")
    words = lab.found.go(LIST)
    assert "All this costs 0.1089 USD per hour; if it all runs on, the credits last until 2027-01-12" in words
    assert "python, 2 vCPU, 512 MiB" in words
    page.focus(f"[data-live] a[href='{LIST}/{sandbox}']")
    lab.pass_time(120)
    page.wait_for_selector("[data-live] >> text=0.00363 USD")
    assert f"{LIST}/{sandbox}" == page.evaluate("document.activeElement.getAttribute('href')")
    lab.make(name="Second")
    page.wait_for_selector("[data-live] >> text=Second")
    assert "All this costs 0.2178 USD per hour" in page.inner_text("[data-live]")
    lab.found.grant(10**9, key="rich", unit="USD")
    page.wait_for_selector("[data-live] >> text=the credits last for more than ten years")
    lab.see(sandbox)
    lab.pass_time(60)
    page.wait_for_selector("[data-live] >> text=0.005445 USD")
    lab.tally.sandboxes.stop(lab.found.caller, sandbox)
    page.wait_for_selector("[data-live] >> text=Stopped.")
    elsewhere = lab.found.tab()
    lab.found.go("/billing", elsewhere)
    elsewhere.click("text=Sign out")
    elsewhere.wait_for_url("**/sign-in?*")
    page.wait_for_selector("text=You were signed out")


def test_an_idle_sandbox_is_pointed_out(lab: Lab) -> None:
    """On both pages, since when nobody has used it; one that is used is not."""
    sandbox, used = lab.make(name="Forgotten"), lab.make(name="Busy")
    lab.pass_time(600)
    lab.run(used)
    lab.found.go(LIST)
    rows = lab.page.locator("[data-live] li")
    assert "Nobody has used it since 2027-01-10 12:00 UTC" in rows.nth(1).inner_text()
    assert "Nobody has used it" not in rows.nth(0).inner_text()
    assert "end it if nobody needs it" in lab.see(sandbox)
    assert "end it if nobody needs it" not in lab.see(used)


def test_a_sandbox_is_deleted_in_two_tabs(lab: Lab) -> None:
    """The second tab finds it ended, and is told why it cannot be extended."""
    page, sandbox, other = lab.page, lab.make(), lab.found.tab()
    late = lab.found.tab()
    for tab in (page, other, late):
        lab.see(sandbox, page=tab)
    for tab in (page, other):
        tab.click("summary:has-text('Delete')")
        tab.click("button[value=delete]")
        tab.wait_for_selector("text=Stopped.")
    late.click("text=Extend it")
    assert "The sandbox is stopped" in late.inner_text("[role=alert]")
    assert "You ended it" in late.inner_text("main")
    assert ("stopped", "requested") == lab.state(sandbox)


def test_what_cannot_be_made_is_refused_with_words(lab: Lab) -> None:
    """Too long for the plan, too many at a time, no number, no credits; what was typed is kept."""
    page = lab.page

    def make(timeout: str) -> str:
        lab.found.go(LIST)
        if not page.is_visible("input[name=name]"):
            page.click("summary:has-text('Make a sandbox')")
        page.fill("input[name=name]", "Kept")
        page.fill("input[name=timeout]", timeout)
        page.click("text=Make the sandbox >> visible=true")
        return page.inner_text("[role=alert]")

    assert "The plan free allows 7200 seconds for a sandbox, and this would be 7201." == make("7201")
    assert ("Kept", "7201") == (page.input_value("input[name=name]"), page.input_value("input[name=timeout]"))
    assert "Seconds: expected a whole number such as 600." == make("an hour")
    assert "Seconds: expected a whole number from 1" in make("0")
    made = [lab.make() for _ in range(3)]
    assert "The plan free allows 3 sandboxes at a time, and this would be 4." == make("600")
    for sandbox in made:
        lab.tally.sandboxes.stop(lab.found.caller, sandbox)
    lab.found.charge("both", 250, key="dollars")
    assert "USD" in make("600")
    assert [] == lab.running()


def test_a_form_whose_answer_was_lost_makes_no_second_one(lab: Lab) -> None:
    """It is told that nobody knows, and the same form leads to the one that is being made."""
    lab.found.go(LIST)
    fields = lab.form("token", "once", "timeout") | {"template": "bash"}
    lab.provider.lost_answers = 1
    answers = [lab.send(LIST, fields) for _ in range(2)]
    assert "Whether the sandbox was made is not known" in answers[0].text()
    assert (f"{lab.found.server.url}{LIST}", 200) == (answers[1].url, answers[1].status)
    assert "Being made since 2027-01-10 12:00 UTC" in lab.found.go(LIST)
    assert 1 == len(lab.provider.boxes)


def test_a_form_from_elsewhere_changes_nothing(lab: Lab) -> None:
    """Without the session's own token nothing is made, extended or ended."""
    sandbox = lab.make()
    for path, fields in (
        (LIST, {"template": "bash", "timeout": "600", "once": "x"}),
        (f"{LIST}/{sandbox}", {"action": "stop"}),
        (f"{LIST}/{sandbox}", {"action": "extend", "timeout": "60", "token": "guessed"}),
    ):
        assert (path, 403) == (path, lab.send(path, dict(fields)).status)
    assert [sandbox] == lab.running()


def test_a_bill_is_explained_to_the_second(lab: Lab) -> None:
    """Each line leads to its transaction, seconds add up, and a wrong span says what was expected."""
    page, sandbox = lab.page, lab.make()
    lab.run(sandbox)
    lab.pass_time(120)
    words = lab.see(sandbox)
    assert "120 seconds more were seen running, and will cost 0.00363 USD" in words
    lab.tally.sandboxes.stop(lab.found.caller, sandbox)
    words = lab.see(sandbox)
    assert "In all" in words
    assert "0.00363 USD" in words
    assert "3 credits" in words
    assert "Running time\t0 to 120\t0.00363 USD" in words
    page.click("[aria-label='Lines of the bill'] a >> nth=0")
    assert "gib_seconds" in page.inner_text("main")
    lab.see(sandbox)
    page.fill("input[name=from_second]", "118")
    page.fill("input[name=seconds]", "10")
    page.click("button:has-text('Show')")
    rows = page.locator("[aria-label='Seconds of its life'] tbody tr").all_inner_texts()
    assert ["118", "119"] == [row.split()[0] for row in rows]
    assert "0.00363" == rows[-1].split()[-1]
    for query, problem in (
        ("?from_second=x&seconds=1", "From second: expected a whole number such as 600."),
        ("?from_second=0&seconds=4000", "Seconds: expected 1 to 3600."),
    ):
        lab.see(sandbox, query)
        assert problem == page.inner_text("[role=alert]")
    assert "It was not seen running in those seconds" in lab.see(sandbox, "?from_second=500&seconds=1")
    assert "Older: expected a whole number" in lab.see(sandbox, "?older=-1")


def test_what_was_refunded_stands_on_the_bill(lab: Lab) -> None:
    """Its total is what was really paid, and each refund leads to itself and to its charge."""
    sandbox = lab.make()
    lab.run(sandbox)
    assert "What came back" not in lab.see(sandbox)
    [ran] = [
        line
        for line in lab.tally.sandboxes.lines(lab.found.caller, sandbox)[1]
        if line.operation == "execute"
    ]
    lab.tally.charges.refund(
        SYSTEM, to_text("chg", ran.transaction_id), amount=1, reason=HOSTILE, idempotency_key="back"
    )
    words = lab.see(sandbox)
    assert "In all 2 credits, less what came back." in words
    assert HOSTILE in words
    assert [] == serious(lab.page)
    lab.page.click("text=this charge")
    assert to_text("txn", ran.transaction_id) in lab.page.inner_text("main")


def test_long_bills_and_logs_are_read_in_pages(lab: Lab) -> None:
    """Every line and every run is on one page, and the newest is first."""
    page, sandbox = lab.page, lab.make()
    lab.found.grant(200, key="many")
    for number in range(60):
        lab.run(sandbox, f"echo {number}")
    lab.see(sandbox)
    assert 50 == page.locator("[aria-label='Lines of the bill'] tbody tr").count()
    seen = page.locator("details summary:has-text('bash')").count()
    page.click("text=Older lines")
    assert 11 == page.locator("[aria-label='Lines of the bill'] tbody tr").count()
    page.click("text=Newest lines")
    while page.get_by_text("Older runs").count():
        page.click("text=Older runs")
        seen += page.locator("details summary:has-text('bash')").count()
    assert 60 == seen
    assert "echo 0" == page.locator("pre").last.text_content()


def test_hostile_code_and_names_are_text(lab: Lab) -> None:
    """Nothing of them runs, secrets of the environment are not shown, and what is long is cut where it is said so."""
    page = lab.page
    sandbox = lab.make(name=NAME, env={"SECRET": "the-value"})
    output = HOSTILE.encode() + b"\x1b[31m\x00\xff" + b"x" * 5_000
    answer = Execution(
        exit_code=137, stdout=output, stderr=HOSTILE.encode(), duration_ms=5, oom=True, truncated=True
    )
    lab.run(sandbox, HOSTILE, answer=answer)
    lab.see(sandbox)
    assert NAME in page.inner_text("h1")
    page.click("summary:has-text('exit code 137')")
    words = page.inner_text("main")
    assert "exit code 137 after 0.005 seconds, out of memory" in words
    assert 3 == words.count(HOSTILE)
    assert "Output, the first 4000 of" in words
    assert "It wrote more than is kept." in words
    assert "the-value" not in page.content()
    assert not serious(page)
    assert NAME in lab.found.go(LIST)
    assert 0 == page.locator("main script, main img").count()


def test_sandboxes_of_others_are_not_found(lab: Lab) -> None:
    """Neither seen, nor watched, nor changed, like ones that there are not."""
    number = lab.tally.customers.create(SYSTEM, external_id="bob").value.id
    name = to_text("cust", number)
    bob = Caller(role="user", scope=name, name=name, customer_id=number)
    sandbox = lab.make(caller=bob, name="Private")
    own = lab.make()
    lab.see(own)
    fields = lab.form("token") | {"action": "stop"}
    for path in (sandbox, "sbx_0000000000000", "nothing"):
        assert "There is no sandbox" in lab.see(path)
        now = lab.page.request.get(f"{lab.found.server.url}{LIST}/{path}/now")
        assert (404, 404) == (now.status, lab.send(f"{LIST}/{path}", fields).status)
    assert ("running", None) == lab.state(sandbox)
    assert "Private" not in lab.found.go(LIST)


def test_many_that_have_ended_are_read_in_pages(lab: Lab) -> None:
    """Newest first, each once, with why it ended, its seconds and its cost."""
    page = lab.page
    for number in range(30):
        sandbox = lab.make(name=f"Number {number}")
        lab.tally.sandboxes.stop(lab.found.caller, sandbox)
    lab.make(name="Over", timeout=60)
    lab.pass_time(120)
    words = lab.found.go(LIST)
    assert "Its time was over.\t60\t0.001815 USD" in words
    assert "Making it\t31 times\t31 credits" in words
    assert "Running time\t60 seconds\t0.001815 USD" in words
    cells = "[aria-label='Sandboxes that have ended'] tbody a"
    names = page.locator(cells).all_inner_texts()
    page.click("text=Older sandboxes")
    names += page.locator(cells).all_inner_texts()
    assert ["Over", *[f"Number {number}" for number in range(29, -1, -1)]] == names
    page.click("text=Newest sandboxes")
    assert "Over" == page.locator(cells).first.inner_text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_use_the_pages(lab: Lab, scheme: str) -> None:
    """In both schemes, on a telephone of 320 pixels: axe finds nothing serious, and no page is wider than the screen."""
    page, sandbox, ended = lab.page, lab.make(name="Long"), lab.make()
    lab.run(sandbox, "echo hello", answer=replace(QUIET, stdout=b"hello\n" * 100))
    lab.tally.sandboxes.stop(lab.found.caller, ended)
    lab.pass_time(600)
    page.set_viewport_size({"width": 320, "height": 640})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    for path in (LIST, f"{LIST}/{sandbox}?from_second=0&seconds=5", f"{LIST}/{ended}"):
        lab.found.go(path)
        for each in page.locator("summary").all():
            each.click()
        assert (path, []) == (path, serious(page))
        assert (path, 320) == (path, page.evaluate("document.documentElement.scrollWidth"))
        assert (path, 1) == (path, page.locator("h1").count())


def test_the_pages_work_without_scripts(lab: Lab) -> None:
    """One is made and stopped, and what is shown is what was when the page was made."""
    browser = lab.page.context.browser
    assert browser is not None
    plain = browser.new_context(java_script_enabled=False).new_page()
    lab.found.sign_in(plain)
    lab.found.go(LIST, plain)
    plain.click("text=Make the sandbox >> visible=true")
    assert "Running." in plain.inner_text("main")
    [sandbox] = lab.running()
    lab.pass_time(60)
    assert "0.001815 USD" in lab.see(sandbox, page=plain)
    plain.click("summary:has-text('Stop')")
    plain.click("button[value=stop]")
    assert "Stopped." in plain.inner_text("main")
    plain.context.close()


def test_a_server_without_sandboxes_says_what_it_lacks(lab: Lab) -> None:
    """No way leads there, nothing can be made, and what ended before is still shown."""
    page, ended = lab.page, lab.make(name="Before")
    lab.tally.sandboxes.stop(lab.found.caller, ended)
    lab.found.go(LIST)
    fields = lab.form("token", "once", "timeout") | {"template": "bash"}
    lab.tally.use_sandboxes(None, missing="this server runs no sandboxes: install bubblewrap")
    words = lab.found.go(LIST)
    assert "No sandboxes can be made here: this server runs no sandboxes: install bubblewrap" in words
    assert "Before" in words
    assert 0 == page.locator("nav >> text=Sandboxes").count()
    assert 0 == page.locator("main form").count()
    assert "Ran for" in lab.see(ended)
    answer = lab.send(LIST, fields)
    assert "install bubblewrap" in answer.text()
    assert 503 == answer.status


def test_each_status_and_reason_has_words() -> None:
    """A new one needs a name for people."""
    assert set(SANDBOX_WORDS) == set(STATUSES)
    assert set(SANDBOX_REASONS) == set(get_args(Reason))
