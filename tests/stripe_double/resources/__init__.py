"""The calls that the double implements, one file for each kind of object."""

import importlib
import pkgutil


def load() -> None:
    """Import every file here, so that its calls are known."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
