"""Files that pages load: packed, kept for a year under their own address, and no others."""

from __future__ import annotations

import pytest

from tallystick.web import assets
from tests.doors.web.browser import Site

NAMES = ("dashboard.css", "live.js", "usage.js", "plotly.js")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_kept_for_a_year(site: Site, name: str) -> None:
    """Packed for whoever can unpack it, as it is for others, and the same either way."""
    packed = site.client.get(assets.address(name), headers={"Accept-Encoding": "gzip"})
    plain = site.client.get(assets.address(name), headers={"Accept-Encoding": "identity"})
    assert ("gzip", None) == (packed.headers["content-encoding"], plain.headers.get("content-encoding"))
    assert packed.content == plain.content
    assert "public, max-age=31536000, immutable" == packed.headers["cache-control"]
    assert "nosniff" == packed.headers["x-content-type-options"]


def test_a_page_of_an_earlier_version_gets_the_present_file(site: Site) -> None:
    """While servers are upgraded one after the other; nobody keeps it under that address."""
    answer = site.client.get("/static/0123456789abcdef/live.js")
    assert (200, "no-store") == (answer.status_code, answer.headers["cache-control"])


@pytest.mark.parametrize("path", ["/static/x/secrets.toml", "/static/x/..%2Fframe.py", "/static/x/"])
def test_there_are_no_other_files(site: Site, path: str) -> None:
    """Names are looked up in a table, never on the disk."""
    assert 404 == site.client.get(path).status_code


def test_only_what_pages_need_is_allowed(site: Site) -> None:
    """The policy of a page has no inline script and no eval, and only the chart's page the library's two styles."""
    site.send("/sign-in", email="eve@example.test", password="correct horse battery", action="register")
    policies = {
        path: site.client.get(path).headers["content-security-policy"]
        for path in ("/billing", "/billing/usage", "/sign-in")
    }
    for path, policy in policies.items():
        assert (path, False) == (path, "unsafe" in policy)
    assert [1, 3, 1] == [policy.count("'sha256-") for policy in policies.values()]
    assert "script-src" not in policies["/sign-in"]
    assert "no-store" == site.client.get("/billing").headers["cache-control"]
