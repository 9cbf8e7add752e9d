"""After a promotion or its reversal: readers of live counters and those of the ledger get to know."""

from __future__ import annotations

from tidemark.billing.outbox import publish
from tidemark.core.errors import TidemarkError
from tidemark.core.settings import Settings
from tidemark.core.terminal import say
from tidemark.live import active_version


def announce(settings: Settings) -> None:
    """Point readers to the version that is active now, and publish closes and corrections; safe to repeat."""
    point_readers(settings)
    say("publishing closes and corrections …")
    publish(settings)


def point_readers(settings: Settings) -> None:
    """Point readers to the counters of the active version; a warning where that is not possible now."""
    try:
        active_version.publish(settings)
    except TidemarkError as error:
        # The decision is made; readers follow with the next refresh of the Redis sync.
        say(f"warning: {error}")
