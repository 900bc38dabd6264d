"""The dashboard of operators: everything under ``/admin``, for whoever has signed in with an admin's API key."""

from __future__ import annotations

from tallystick.web.admin import actions, customers, deliveries, ledger, payments, signing_in, tasks

__all__ = ["routers"]

routers = (
    signing_in.routes,
    customers.routes,
    payments.routes,
    tasks.routes,
    deliveries.routes,
    ledger.routes,
    actions.routes,
)
