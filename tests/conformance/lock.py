"""Writes package-lock.json anew from package.json: names, versions and digests, and no address of anything."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ADDRESSES: Final = ("resolved", "funding", "deprecated")


def main() -> None:
    """Let npm choose the newest packages that fit, and keep what names them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copy(HERE / "package.json", folder)
        command = ["npm", "install", "--package-lock-only", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=folder, check=True)
        lock = json.loads((folder / "package-lock.json").read_text())
    for package in lock["packages"].values():
        for field in ADDRESSES:
            package.pop(field, None)
    text = json.dumps(lock, indent=2, ensure_ascii=False) + "\n"
    assert "://" not in text
    (HERE / "package-lock.json").write_text(text)


if __name__ == "__main__":
    main()
