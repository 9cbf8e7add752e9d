"""How a service of ours goes on for ever: the same step again and again, failures told and tried again."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tidemark.core.errors import TidemarkError
from udfs.values import rfc3339

Log = Callable[..., None]


def logger(component: str) -> Log:
    """A function `log(event, **fields)` that writes one JSON line on stderr."""

    def log(event: str, **fields: Any) -> None:
        at = rfc3339(datetime.now(UTC))
        line = {"at": at, "component": component, "event": event, **fields}
        sys.stderr.write(json.dumps(line, ensure_ascii=False) + "\n")
        sys.stderr.flush()

    return log


def repeat(
    step: Callable[[], Any],
    *,
    every_s: float,
    stop: threading.Event,
    log: Log,
    report: Callable[[Any, bool], None] = lambda _, __: None,
) -> None:
    """Take `step` every `every_s` seconds until `stop` is set; expected failures are logged, never raised.

    `report` is told what a step returned, and whether the one before it failed.
    """
    failing = False
    while not stop.is_set():
        try:
            done = step()
        except TidemarkError as error:
            log("failed", error=str(error))
            failing = True
        else:
            report(done, failing)
            failing = False
        stop.wait(every_s)
    log("stopped")
