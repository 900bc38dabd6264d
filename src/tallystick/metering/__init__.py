"""What other people put in front of their own tools, so that each call is priced, limited and charged.

Everything here needs ``pip install tallystick`` and a client of a billing server, or an embedded ``Tally``; an adapter needs
the library that it adapts to as well, and is imported when it is asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from tallystick.metering.metering import Metering
from tallystick.metering.orders import Receipt, Refused
from tallystick.metering.rules import Lease, Rule

if TYPE_CHECKING:
    from tallystick.metering.asgi import TallyASGIMiddleware
    from tallystick.metering.decorator import configure, meter, receipts
    from tallystick.metering.fastmcp import TallyMiddleware
    from tallystick.metering.lowlevel import meter_server

__all__ = [
    "Lease",
    "Metering",
    "Receipt",
    "Refused",
    "Rule",
    "TallyASGIMiddleware",
    "TallyMiddleware",
    "configure",
    "meter",
    "meter_server",
    "receipts",
]
_ADAPTERS: Final = {
    "TallyASGIMiddleware": "asgi",
    "TallyMiddleware": "fastmcp",
    "configure": "decorator",
    "meter": "decorator",
    "meter_server": "lowlevel",
    "receipts": "decorator",
}


def __getattr__(name: str) -> object:
    """Import an adapter when it is asked for."""
    if name not in _ADAPTERS:
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}.{_ADAPTERS[name]}"), name)
