"""How a command that runs for ever ends: SIGTERM and Ctrl-C set an event that it looks at."""

from __future__ import annotations

import os
import signal
import threading
from typing import Any

_INTERRUPTED = 130


def until_stopped() -> threading.Event:
    """An event that SIGTERM and SIGINT set from now on; a second Ctrl-C ends the process at once."""
    stop = threading.Event()

    def on_signal(number: int, _: Any) -> None:
        if number == signal.SIGINT and stop.is_set():
            os._exit(_INTERRUPTED)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    return stop
