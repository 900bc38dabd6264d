"""Tallystick: a self-hosted credit economy for AI-agent platforms, MCP servers and APIs."""
