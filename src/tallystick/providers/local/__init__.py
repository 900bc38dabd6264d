"""Sandboxes on this machine, with bubblewrap."""

from tallystick.providers.local.building import BuildFailed, build_template
from tallystick.providers.local.provider import LocalSandboxes

__all__ = ["BuildFailed", "LocalSandboxes", "build_template"]
