"""The audit as a service: every stored figure derived anew, judged by the system's clock."""

from __future__ import annotations

from tallystick.services.context import Context
from tallystick.store.audit import AuditReport, Progress, RuleReport, Violation, audit

__all__ = ["Audit", "AuditReport", "Progress", "RuleReport", "Violation", "audit"]


class Audit:
    """Checks the whole ledger while it is in use. For operators."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def run(self, progress: Progress = lambda _table, _done, _total: None) -> AuditReport:
        """Each rule with what was checked and what is wrong; ``progress`` is told table, rows, and all."""
        return audit(self._context.database, now=self._context.now(), progress=progress)
