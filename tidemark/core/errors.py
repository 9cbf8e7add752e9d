"""Errors that a person can act on: what happened, the value against its limit, the fix."""

from __future__ import annotations


class TidemarkError(Exception):
    """Base of every expected failure.

    Parameters
    ----------
    what:
        What failed, with the value and the limit where there is one.
    fix:
        The next thing to do, as a command or a setting where possible.
    """

    exit_code = 1

    def __init__(self, what: str, fix: str = "") -> None:
        super().__init__(what, fix)
        self.what = what
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.what} Fix: {self.fix}" if self.fix else self.what


class UsageError(TidemarkError):
    """The call, a file or a setting is wrong; the same call will fail again."""

    exit_code = 2


class UnavailableError(TidemarkError):
    """A service cannot be reached; the same call may succeed later."""

    exit_code = 3


class StandbyError(TidemarkError):
    """Another instance does this already, and only one may; the same call succeeds when it is gone."""


class DifferenceError(TidemarkError):
    """Two numbers that must be equal are not."""

    exit_code = 4
