"""How fast Tallystick is, always measured beside something else in the same run: ``make bench``."""
