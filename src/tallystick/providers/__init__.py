"""Adapters to what others run: payment providers, one module or package each, behind the port."""
