"""What the recording side of the SDK raises."""

from __future__ import annotations


class RecorderError(Exception):
    """Base of all of them."""


class QueueFullError(RecorderError):
    """An event was not recorded: memory is full, and the policy says so."""


class SpoolError(RecorderError):
    """The spool on disk cannot be used."""


class ClosedError(RecorderError):
    """The client was closed."""


class NotDurableError(RecorderError):
    """The event is recorded, but was not on disk in time."""
