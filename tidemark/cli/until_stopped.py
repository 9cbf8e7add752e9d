"""How a command that runs for ever ends: SIGTERM and Ctrl-C set an event that it looks at."""

from __future__ import annotations

import signal
import threading


def until_stopped() -> threading.Event:
    """An event that SIGTERM and SIGINT set from now on."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
