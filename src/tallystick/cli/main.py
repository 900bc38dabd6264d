"""The program `tally`. It is here also where only the client is installed, and then says what is missing."""

import sys
from typing import Final

from tallystick.cli import streams

EXIT_REFUSED: Final = 1


def main() -> None:
    """Run the command line and leave with its status: 0 done, 1 refused, 2 wrong usage."""
    streams.prepare()
    try:
        from tallystick.cli.app import run

        with streams.printing("not all of it could be written"):
            status = run(sys.argv[1:])
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in {"", "tallystick"}:
            raise
        sys.stderr.write(
            f"tally: the package {missing} is not installed; install what the command line needs:\n"
            "  pip install 'tallystick[server]'\n"
        )
        status = EXIT_REFUSED
    sys.exit(status)
