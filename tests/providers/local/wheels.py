"""Python packages of the tests' own, for templates."""

from __future__ import annotations

import zipfile
from pathlib import Path


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
