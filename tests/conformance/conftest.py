"""What the suite found is told at the end of a run, also of one that passed."""

import pytest

FIGURES = "conformance"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line for each run of the suite."""
    reports = terminalreporter.getreports("passed")
    for line in sorted(
        str(text) for each in reports for name, text in each.user_properties if name == FIGURES
    ):
        terminalreporter.write_line(line)
