"""What follows from a response, or from its absence: delivered, tried again and when, or given up."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import blake2b

# Pauses double from 15 s to an hour. With the default of 10 attempts the nine pauses are at most 15, 30, 60, 120, 240,
# 480, 960, 1920 and 3600 s: given up after 2 h 4 min (and ten time-outs), after half of that at the earliest.
FIRST_PAUSE_S = 15.0
LONGEST_PAUSE_S = 3_600.0
# A receiver that names a later time than this is asked anyway: alerts of yesterday help nobody.
LONGEST_RETRY_AFTER_S = 86_400.0

_ERROR_LENGTH = 300
_RETRIED = (408, 429)
_SUCCESS = range(200, 300)
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Delivered:
    """The receiver has it."""


@dataclass(frozen=True, slots=True)
class Retry:
    """To be sent again, at `pause` from now."""

    error: str
    pause: timedelta


@dataclass(frozen=True, slots=True)
class Dead:
    """Given up until somebody asks for it again."""

    error: str


Outcome = Delivered | Retry | Dead


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a notification.

    Parameters
    ----------
    key:
        Id of the notification.
    number, limit:
        Which attempt it is, from 1, and after how many it is given up.
    """

    key: str
    number: int
    limit: int


def of_response(attempt: Attempt, status: int, retry_after: str, excerpt: str, now: datetime) -> Outcome:
    """What a response means.

    Parameters
    ----------
    attempt:
        Which attempt it responds to.
    status, retry_after, excerpt:
        HTTP status, header `Retry-After` (empty: none), and the first bytes of the body, without secrets.
    now:
        Aware time that an HTTP date in `retry_after` is compared with.
    """
    if status in _SUCCESS:
        return Delivered()
    error = f"answered {status}: {excerpt}" if excerpt else f"answered {status}"
    if status in _RETRIED or status >= _SERVER_ERROR:
        return of_failure(attempt, error, at_least_s=retry_after_s(retry_after, now))
    # Asking again changes nothing: the address, the secret or the message is wrong. A redirect is not followed: a
    # POST would become a GET, and a secret could go where nobody meant it to go.
    return Dead(error[:_ERROR_LENGTH])


def of_failure(attempt: Attempt, error: str, *, at_least_s: float = 0.0) -> Retry | Dead:
    """What a temporary failure means: another attempt, or no more after the last."""
    if attempt.number >= attempt.limit:
        return Dead(f"given up after {attempt.number} attempts: {error}"[:_ERROR_LENGTH])
    return Retry(error[:_ERROR_LENGTH], timedelta(seconds=max(pause_s(attempt), at_least_s)))


def pause_s(attempt: Attempt) -> float:
    """Pause after a failed attempt: half to all of the doubled pause, decided by key and number alone."""
    # Doubling is stopped before it leaves the range of floats.
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempt.number - 1, 30))
    digest = blake2b(f"{attempt.key}:{attempt.number}".encode("utf-8", "replace"), digest_size=8).digest()
    return longest * (0.5 + int.from_bytes(digest) / 2**65)


def retry_after_s(text: str, now: datetime) -> float:
    """Seconds of a `Retry-After` header, a number or an HTTP date; 0 where it is empty or not valid, at most a day."""
    text = text.strip()
    if text.isdecimal() and text.isascii():
        return min(float(text), LONGEST_RETRY_AFTER_S)
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    seconds = (at - now).total_seconds() if at.tzinfo is not None else 0.0
    return max(0.0, min(seconds, LONGEST_RETRY_AFTER_S))
