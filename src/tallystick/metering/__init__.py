"""What other people put in front of their own tools, so that each call is priced, limited and charged."""

from tallystick.metering.fastmcp import TallyMiddleware
from tallystick.metering.rules import Rule

__all__ = ["Rule", "TallyMiddleware"]
