"""The worker: a thread that does due work, inside the server or alone. Any number may run on one database."""

from tallystick.worker.loop import Worker

__all__ = ["Worker"]
