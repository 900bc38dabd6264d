"""A FastMCP server whose tools cost credits: searches at a fixed price, and pages by how many were found.

Run it with ``python examples/paid_mcp_server.py`` and call it at http://127.0.0.1:8765/mcp with the token ``secret-of-ann``.
"""

import os

from fastmcp import FastMCP
from fastmcp.server.auth import StaticTokenVerifier

from tallystick.bootstrap import Tally
from tallystick.metering import Rule, TallyMiddleware
from tallystick.services.context import SYSTEM

tally = Tally.open(os.environ.get("TALLY_DATABASE_URL", "sqlite:///paid-tools.db"), economy="starter")
tally.customers.create(
    SYSTEM, external_id="ann"
)  # with the sign-up credits; a repeat gives the same customer

# Whoever the token is for pays: `client_id` is the customer's id of your own.
mcp = FastMCP("paid-tools", auth=StaticTokenVerifier({"secret-of-ann": {"client_id": "ann", "scopes": []}}))
rules = {
    "find_pages": Rule(
        meter="enrich",  # half a credit for each
        quantity=lambda arguments: arguments["most"],  # held before the call
        used=lambda _arguments, result: len(result.structured_content["result"]),  # charged after it
    ),
}
mcp.add_middleware(TallyMiddleware(tally, rules=rules))


@mcp.tool
def search(query: str) -> str:
    """Search. The economy has a meter of this name, so each call costs what that says."""
    return f"found {query}"


@mcp.tool
def find_pages(most: int) -> list[int]:
    """Find pages. The rule says what it costs: half a credit for each page that is found."""
    return list(range(min(most, 3)))


@mcp.tool
def about() -> str:
    """Say what this is. Neither a rule nor a meter: it costs nothing."""
    return "a paid server"


if __name__ == "__main__":
    mcp.run(transport="http", host="127.0.0.1", port=int(os.environ.get("PORT", "8765")), show_banner=False)
