"""Packages of the tests' own, for templates."""

from __future__ import annotations

import hashlib
import json
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread


def only_wheels(folder: Path, *names: str) -> dict[str, str]:
    """Put packages of one module and one program each into a folder; gives the settings with which pip knows only them."""
    place = folder / "wheels"
    place.mkdir()
    for name in names:
        _wheel(place, name)
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(place)}


def _wheel(folder: Path, name: str) -> None:
    about = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", "def main():\n    print('hello')\n")
        wheel.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/entry_points.txt", f"[console_scripts]\ngreet = {name}:main\n")
        wheel.writestr(f"{about}/RECORD", "")


@contextmanager
def packages_of_node(archive: Path) -> Iterator[str]:
    """A registry of npm's that has one package; gives its address."""
    content = archive.read_bytes()
    with tarfile.open(archive) as packed:
        told = packed.extractfile("package/package.json")
        assert told is not None
        about = json.load(told)

    class Registry(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = content if self.path.endswith(".tgz") else document
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    address = f"http://127.0.0.1:{server.server_port}"
    dist = {"tarball": f"{address}/a.tgz", "shasum": hashlib.sha1(content, usedforsecurity=False).hexdigest()}
    versions = {about["version"]: about | {"dist": dist, "hasInstallScript": True}}
    document = json.dumps(
        {"name": about["name"], "dist-tags": {"latest": about["version"]}, "versions": versions}
    ).encode()
    serving = Thread(target=server.serve_forever)
    serving.start()
    try:
        yield address
    finally:
        server.shutdown()
        serving.join()
        server.server_close()
