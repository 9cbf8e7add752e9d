"""Where the `tidemark` command begins: imports nothing before Ctrl-C is looked after."""

from __future__ import annotations

import os
import sys

INTERRUPTED = 130


def main() -> None:
    """Import the command line and run it; Ctrl-C ends it without a traceback."""
    # Archive, exports and state name customers: what is written is nothing to users outside the group.
    os.umask(os.umask(0o077) | 0o027)
    try:
        from tidemark.cli.main import main as run  # noqa: PLC0415  an import takes long enough to be interrupted

        run()
    except KeyboardInterrupt:
        sys.exit(_quiet(INTERRUPTED))
    except SystemExit as ended:
        sys.exit(_quiet(INTERRUPTED) if ended.code == INTERRUPTED else ended.code)


def _quiet(code: int) -> int:
    """What a client library could not finish because of Ctrl-C is no news to who pressed it."""
    sys.unraisablehook = lambda _: None
    return code
