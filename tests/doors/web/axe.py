"""Whether a page in a browser can be used by everybody, as far as axe can tell: https://github.com/dequelabs/axe-core."""

from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]
from playwright.sync_api import Page


def serious(page: Page) -> list[str]:
    """What keeps people from using a page: each rule with the elements that break it."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {[node['html'][:120] for node in each['nodes']]}"
        for each in found
        if each["impact"] in {"serious", "critical"}
    ]
