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
from tallystick.client.inputs import Also, KeyBudget, NewCharge
from tallystick.client.settings import Retries, Settings, Timeouts, Transports
from tallystick.client.webhooks import InvalidWebhook, WebhookEvent, verify_webhook

__all__ = [
    "Also",
    "AsyncTallyClient",
    "ConfigurationError",
    "InvalidWebhook",
    "KeyBudget",
    "NewCharge",
    "OutcomeUnknown",
    "Retries",
    "ServerUnreachable",
    "Settings",
    "TallyClient",
    "TallyError",
    "Timeouts",
    "Transports",
    "UnexpectedAnswer",
    "WebhookEvent",
    "verify_webhook",
]
