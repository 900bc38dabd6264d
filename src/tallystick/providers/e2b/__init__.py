"""Sandboxes at E2B behind the port of ``ports.sandboxes``, by its official SDK.

The SDK is needed when a provider is made, and not before: who has no key at E2B needs none of it.
"""

from __future__ import annotations

from tallystick.providers.e2b.provider import E2BSandboxes

__all__ = ["E2BSandboxes"]
