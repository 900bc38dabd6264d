"""Pages for people: made on the server, without scripts, and with nothing from elsewhere."""

from tallystick.web.simulated import routers

__all__ = ["routers"]
