"""The examples, as a user runs them: each against a real server of its economy, on both databases."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import ADMIN_KEY, running_server

ROOT = Path(__file__).parent.parent.parent
SCENE_TIMEOUT_SECONDS = 120

pytestmark = pytest.mark.slow


def play(scene: str, economy: str, database_url: str, folder: Path) -> str:
    """Run a scene against a new server and give what it printed, with single spaces."""
    with running_server(folder, economy=economy, database_url=database_url) as server:
        done = subprocess.run(
            [sys.executable, "-m", f"examples.{scene}"],
            cwd=ROOT,
            env=os.environ | {"TALLY_URL": server.url, "TALLY_ADMIN_KEY": ADMIN_KEY},
            capture_output=True,
            text=True,
            check=False,
            timeout=SCENE_TIMEOUT_SECONDS,
        )
        assert 0 == done.returncode, done.stderr + server.log.read_text()
    return "\n".join(" ".join(line.split()) for line in done.stdout.splitlines())


def missing(expected: str, printed: str) -> list[str]:
    """The expected pieces that were not printed in their order."""
    left, lost = printed, []
    for piece in filter(None, map(str.strip, expected.splitlines())):
        _, found, rest = left.partition(piece)
        if found:
            left = rest
        else:
            lost.append(piece)
    return lost


def test_starter(database_url: str, tmp_path: Path) -> None:
    """Every shape of price, a hold captured for less, a refund, and a refusal that says what is short."""
    expected = """
        Ada signs up balance 1000 plan free
        1 × ping costs 0 left 1000
        1 × lookup costs 1 left 999
        1 × search costs 3 left 996
        1200 × gpt costs 2.4 left 993.6
        10 × render costs 7.5 left 986.1
        150 × enrich costs 62.5 left 923.6
        2000 × export costs 16 left 907.6
        a hold for 10,000 tokens held 20 available 887.6
        7,300 were used paid 14.6 back 5.4
        refunded amount 14.6 balance 907.6
        would cost amount 1005 affordable False
        402 INSUFFICIENT_CREDITS required 1005 available 907.6
        short 97.4
        usage gpt -14.6 893 credits
        refund gpt 14.6 907.6 credits
        now 907.6
    """
    assert [] == missing(expected, play("starter", "starter", database_url, tmp_path))


def test_flow_nexus(database_url: str, tmp_path: Path) -> None:
    """356 rUv and $100 at sign-up; 5 and 10 rUv beside the dollars of the sandboxes' seconds, or nothing."""
    expected = """
        Rio signs up rUv 356 USD 100
        create + execute + execute + delete rUv 5 USD 0.01815
        swarm init rUv 10 USD 0.09075
        402 INSUFFICIENT_CREDITS required 151.25 unit USD
        no rUv were drawn either rUv 341 USD 99.8911
        initial_grant Registration credits 100 100 rUv
        bonus Welcome bonus 256 356 rUv
        usage sandbox_create -1 355 rUv
        usage sandbox_execute -2 353 rUv
        usage sandbox_execute -2 351 rUv
        usage sandbox_delete 0 351 rUv
        usage swarm_init -10 341 rUv
        initial_grant Infrastructure credit (E2B Hobby) 100 100 USD
        usage vcpu_seconds -0.0168 99.9832 USD
        usage gib_seconds -0.00135 99.98185 USD
        usage vcpu_seconds -0.084 99.89785 USD
        usage gib_seconds -0.00675 99.8911 USD
        swarm_init amount 10 unit rUv
        vcpu_seconds amount 0.084 unit USD
        gib_seconds amount 0.00675 unit USD
    """
    assert [] == missing(expected, play("flow_nexus", "flow-nexus", database_url, tmp_path))


def test_e2b(database_url: str, tmp_path: Path) -> None:
    """Seconds × (vCPU × $0.000014 + GiB × $0.0000045), and the four ways in which money disappears."""
    expected = """
        Eve signs up balance 100 unit USD
        one hour of 2 vCPU and 512 MiB costs 0.1089
        5 days costs 13.068 left 86.8231
        35 days costs 13.068 left 8.4151
        ALERT: less than 20 USD are left
        twenty at a time for an hour costs 2.178 left 6.2371
        a grant for a week amount 50 available 56.2371
        a week later expired 47.3864 left 6.2371
        403 WALLET_FROZEN says the USD wallet is frozen
        a month later nothing is lost balance 6.2371 frozen_since 20
        explained balance 6.2371 frozen_since 20
        thawed: one hour costs 0.1089
        promotional_grant hackathon 50 56.2371 USD
        expiry promotional_grant -47.3864 6.2371 USD
        explained balance 6.1282 statement_agrees True
        initial_grant of 100 left 6.1282
    """
    assert [] == missing(expected, play("e2b", "e2b", database_url, tmp_path))


def test_flux(database_url: str, tmp_path: Path) -> None:
    """200 on the 1st, the old rest gone, packs kept and drawn last, an outage made up for; 402, 403, 429."""
    expected = """
        balance credits 0 of nothing
        /charges: 402 INSUFFICIENT_CREDITS
        /billing/tier: 402 TIER_UPGRADE_FAILED
        balance credits 200 of 200 monthly_grant
        balance credits 700 of 200 monthly_grant, 500 purchase
        30 leads scored costs 150 drawn 150
        balance credits 550 of 50 monthly_grant, 500 purchase
        balance credits 700 of 200 monthly_grant, 500 purchase
        costs 250 drawn 200 + 50
        balance credits 650 of 200 monthly_grant, 450 purchase
        402 INSUFFICIENT_CREDITS required 900 available 650 shortfall 250
        12:00 monthly_grant Edge allowance 200 200 credits
        12:00 purchase Starter pack, $5 500 700 credits
        12:00 usage bulk_score -150 550 credits
        01 00:00 expiry monthly_grant -50 500 credits
        01 00:00 monthly_grant Edge allowance 200 700 credits
        01 00:00 usage bulk_lookup -250 450 credits
        01 00:00 monthly_grant Edge allowance 200 650 credits
        01 00:00 expiry monthly_grant -200 450 credits
        01 00:00 monthly_grant Edge allowance 200 650 credits
        01 00:00 expiry monthly_grant -200 450 credits
        01 00:00 monthly_grant Edge allowance 200 650 credits
        call 21: 429 RATE_LIMITED limit 20
    """
    assert [] == missing(expected, play("flux", "flux", database_url, tmp_path))


def test_nexus(database_url: str, tmp_path: Path) -> None:
    """1,000 each at sign-up; of a task at 10 the owner gets 9.5 and the platform 0.5, in one transaction."""
    expected = """
        both sign up requester 1000
        a fee of 500 basis points of_10 0.5
        settled price 10 payout 9.5 fee 0.5
        requester balance 990
        owner balance 1009.5 earned 9.5
        initial_grant remaining 1000 origin free
        task_credit remaining 9.5 origin free
        a free task settles nothing price 0 fee 0
        one's own agent moves nothing price 0 fee 0
        402 INSUFFICIENT_CREDITS required 5000 available 990
        initial_grant Free credits on signup 1000 1000 credits
        task_debit summarise a paper -10 990 credits
        initial_grant Free credits on signup 1000 1000 credits
        task_credit summarise a paper 9.5 1009.5 credits
    """
    assert [] == missing(expected, play("nexus", "nexus", database_url, tmp_path))


def test_a_sandbox_for_real(database_url: str, tmp_path: Path) -> None:
    """An API and its tests run in a sandbox of this machine: 1 + 2 + 2 + 0 rUv, and the dollars of its seconds."""
    expected = """
        written exit_code 0
        tested exit_code 0 passed 2
        deleted reason requested rUv_spent 5
        the seconds' dollars are the bill's agree True more_than_nothing True
    """
    assert [] == missing(expected, play("sandbox_scene", "flow-nexus", database_url, tmp_path))


def test_where_credits_went(database_url: str, tmp_path: Path) -> None:
    """Credits that seem to disappear: each statement says where they went, and adds up."""
    expected = """
        # forgotten
        it ended by itself reason timeout hours 8 cost 0.8712
        usage vcpu_seconds -0.8064
        the balance dollars 99.1288 adds_up True
        it was told of idle 1 ending 1
        # in parallel
        five run sandboxes 5 per_hour 0.5445
        they ran hours 5
        the balance dollars 99.4555 adds_up True
        # expired
        nothing paid for more reason credits
        expiry promotional_grant -0.99
        the balance dollars 0 adds_up True
        # locked
        it ended reason frozen
        usage vcpu_seconds -0.0084
        the balance dollars 99.990925 adds_up True
    """
    assert [] == missing(expected, play("where_credits_went", "flow-nexus", database_url, tmp_path))
