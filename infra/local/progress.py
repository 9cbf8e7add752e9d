"""Progress of the stack: the command line draws it, tests may stay silent."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol


class Progress(Protocol):
    """Announces a step and its end."""

    def step(self, text: str) -> AbstractContextManager[None]:
        """Context around a step that may take more than a moment."""
        ...


class Silent:
    """Prints nothing."""

    def step(self, text: str) -> AbstractContextManager[None]:
        """Do nothing around the step."""
        del text
        return nullcontext()


class Lines:
    """Writes a line on stderr when a step begins, and another when it has ended."""

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Announce a step, and report how long it took."""
        sys.stderr.write(f"{text} …\n")
        started = time.monotonic()
        yield
        sys.stderr.write(f"{text}: done in {time.monotonic() - started:.0f} s\n")
