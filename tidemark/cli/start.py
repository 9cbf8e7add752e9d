"""Where the `tidemark` command begins: imports nothing before Ctrl-C is looked after."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Import the command line and run it; Ctrl-C meanwhile ends it without a traceback."""
    try:
        from tidemark.cli.main import main as run  # noqa: PLC0415  an import takes long enough to be interrupted

        run()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
