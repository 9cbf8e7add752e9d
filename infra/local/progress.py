"""How the stack tells what it is doing; the command line draws it, tests may stay silent."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Progress(Protocol):
    """Announces a step, and that it has ended."""

    def step(self, text: str) -> AbstractContextManager[None]:
        """Context around a step that may take more than a moment."""
        ...


class Silent:
    """Says nothing."""

    def step(self, text: str) -> AbstractContextManager[None]:
        """Do nothing around the step."""
        del text
        return nullcontext()
