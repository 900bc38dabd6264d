"""Files that pages load: styles, scripts, and the chart library, from our own origin and kept by browsers for a year.

The address of a file has a digest of its content, so that a new content has a new address.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

routes = APIRouter(include_in_schema=False)

# Where each file is, and what it is. The last one is that of the package `plotly`, none of whose Python is used.
_FILES: Final = {
    "dashboard.css": (("tallystick.web", "static", "dashboard.css"), "text/css; charset=utf-8"),
    "live.js": (("tallystick.web", "static", "live.js"), "text/javascript; charset=utf-8"),
    "usage.js": (("tallystick.web", "static", "usage.js"), "text/javascript; charset=utf-8"),
    "plotly.js": (("plotly", "package_data", "plotly.min.js"), "text/javascript; charset=utf-8"),
}
_FOR_A_YEAR: Final = "public, max-age=31536000, immutable"


@dataclass(frozen=True, slots=True)
class Asset:
    """A file, packed once for all who ask. ``digest`` is in its address."""

    digest: str
    packed: bytes
    media_type: str


def address(name: str) -> str:
    """Where a page finds a file. Raises ``KeyError`` for a name that there is not."""
    return f"/static/{_asset(name).digest}/{name}"


@routes.get("/static/{digest}/{name}")
def get_asset(request: Request, digest: str, name: str) -> Response:
    """A file. Under the address of another version it is the present one, which nobody keeps."""
    if name not in _FILES:
        return Response(status_code=404)
    asset = _asset(name)
    headers = {
        "Cache-Control": _FOR_A_YEAR if digest == asset.digest else "no-store",
        "X-Content-Type-Options": "nosniff",
        "Vary": "Accept-Encoding",
    }
    if "gzip" in request.headers.get("accept-encoding", ""):
        return Response(
            asset.packed, media_type=asset.media_type, headers={**headers, "Content-Encoding": "gzip"}
        )
    return Response(gzip.decompress(asset.packed), media_type=asset.media_type, headers=headers)


@cache
def _asset(name: str) -> Asset:
    (package, *path), media_type = _FILES[name]
    content = files(package).joinpath(*path).read_bytes()
    return Asset(hashlib.sha256(content).hexdigest()[:16], gzip.compress(content, mtime=0), media_type)
