"""Ten minutes of hostile records and catalogs, other ones each time: `python -m tests.unit.fuzz [SECONDS]`."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

SECONDS = 600.0


def main(seconds: float) -> int:
    """Run the properties of this folder until the time is over; the exit code of the first run that fails."""
    os.environ["HYPOTHESIS_PROFILE"] = "fuzz"
    ends_at, code = time.monotonic() + seconds, 0
    while not code and time.monotonic() < ends_at:
        code = int(pytest.main([str(Path(__file__).parent), "-q", "-p", "no:cacheprovider"]))
    return code


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS))
