"""The economies that come with the package, and the way to read them and one's own."""

from importlib.resources import files
from pathlib import Path

from tallystick.core.errors import ConfigurationError

__all__ = ["SHIPPED", "name_of", "read"]

SHIPPED = ("starter", "flow-nexus", "e2b", "flux", "nexus")


def read(name_or_path: str) -> str:
    """Give the text of a shipped economy by its name, or of a file by its path.

    Raises ``ConfigurationError`` when there is neither.
    """
    if name_or_path in SHIPPED:
        return files(__name__).joinpath(f"{name_or_path}.toml").read_text(encoding="utf-8")
    try:
        return Path(name_or_path).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"cannot read the economy {name_or_path}: give a path, or one of {', '.join(SHIPPED)}"
        ) from error


def name_of(name_or_path: str) -> str:
    """Give what an economy is called: its shipped name, or its file's name without the ending."""
    return name_or_path if name_or_path in SHIPPED else Path(name_or_path).stem
