"""Adapters to what is outside: payment providers, receivers of webhooks, the mail server."""
