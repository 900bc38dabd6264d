"""A FastAPI app whose routes cost credits: a look-up at a fixed price, and enriched rows by how many were found.

Run it with ``python examples/paid_fastapi_app.py`` and call it as ann:

    curl -H 'Authorization: Bearer secret-of-ann' http://127.0.0.1:8766/lookup/7
"""

import os

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

from tallystick.bootstrap import Tally
from tallystick.metering import Rule, TallyASGIMiddleware
from tallystick.metering.http_views import Request
from tallystick.services.context import SYSTEM

# With a billing server elsewhere, this is `TallyClient()`, and customers are created there.
tally = Tally.open(os.environ.get("TALLY_DATABASE_URL", "sqlite:///paid-app.db"), economy="starter")
tally.customers.create(SYSTEM, external_id="ann")  # with the sign-up credits

RULES = {
    "GET /lookup/{id}": Rule(meter="lookup"),  # one credit
    # Half a credit for each row: as many are held as were sent, and as many are charged as were found.
    "POST /enrich": Rule(meter="enrich", quantity="request.json.rows", used="response.json.rows"),
}
KEYS = {"Bearer secret-of-ann": "ann"}  # yours are in a database, and this function may be async


def customer(request: Request) -> str | None:
    """Who pays: whoever the key belongs to. Without one, a route that has a price is not served."""
    return KEYS.get(request.headers.get("authorization", ""))


app = FastAPI()
app.add_middleware(TallyASGIMiddleware, client=tally, rules=RULES, customer=customer)


class Rows(BaseModel):
    """What is sent, and what is found of it."""

    rows: list[str]


@app.get("/lookup/{id}")
def lookup(id: int) -> dict[str, int]:  # noqa: A002 - its name in the path
    """Look something up."""
    return {"id": id}


@app.post("/enrich")
def enrich(asked: Rows) -> Rows:
    """Enrich the rows that are known."""
    return Rows(rows=[f"{row}: enriched" for row in asked.rows if row.startswith("known")])


@app.get("/about")
def about() -> str:
    """Say what this is. No rule names it: it costs nothing."""
    return "a paid app"


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ.get("PORT", "8766")))
