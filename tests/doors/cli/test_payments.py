"""`tally payments simulate`, against a real server."""

from tests.doors.cli.program import Program
from tests.servers import Server


def test_a_payment_that_is_not_there_is_not_found(admin: Program) -> None:
    """The refusal names it."""
    problem = admin.problem("payments", "simulate", "dispute", "pay_none")
    assert ("not_found", "pay_none") == (problem["code"], problem["id"])
    assert "action" in admin.problem("payments", "simulate", "steal", "pay_none")["detail"]


def test_only_admins_simulate(visitor: Program) -> None:
    """Whoever has no key is told so."""
    assert "not_authenticated" == visitor.problem("payments", "simulate", "dispute", "pay_none")["code"]


def test_the_server_has_the_pages(server: Server) -> None:
    """`tally serve` shows the simulated provider's pages without any setting."""
    import httpx

    answer = httpx.get(f"{server.url}/simulated/checkout/cs_sim_none")
    assert 404 == answer.status_code
    assert "TEST MODE" in answer.text
