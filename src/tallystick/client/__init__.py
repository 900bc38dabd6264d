"""The Python SDK: ``TallyClient`` and ``AsyncTallyClient`` for every operation of a Tallystick server.

It needs httpx and nothing else of this package.
"""

from tallystick.client.clients import AsyncTallyClient, TallyClient
from tallystick.client.errors import (
    ConfigurationError,
    OutcomeUnknown,
    ServerUnreachable,
    TallyError,
    UnexpectedAnswer,
)
from tallystick.client.settings import Retries, Settings, Timeouts

__all__ = [
    "AsyncTallyClient",
    "ConfigurationError",
    "OutcomeUnknown",
    "Retries",
    "ServerUnreachable",
    "Settings",
    "TallyClient",
    "TallyError",
    "Timeouts",
    "UnexpectedAnswer",
]
