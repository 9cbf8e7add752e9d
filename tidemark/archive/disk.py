"""What the disk refuses, for instance because it is full, as an error that names the file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tidemark.core.errors import UnavailableError


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Raise what the system says of writing a file as an UnavailableError."""
    try:
        yield
    except OSError as error:
        raise UnavailableError(
            f"{path} cannot be written: {error}.", "free space on its disk; the next run goes on where this one ended."
        ) from error
