"""Producers' manifests: how many events, what they sum to, and a hash of their ids that needs no order."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from hashlib import blake2b

from udfs.values import EXACT
from udfs.wire import FIELD

HASH_BYTES = 16


@dataclass(slots=True)
class Digest:
    """Number, sum of quantities and hash of ids of a set of events, each added once."""

    events: int = 0
    quantity: Decimal = Decimal(0)
    bits: int = 0

    def add(self, event_id: str, quantity: Decimal, voids: str = "") -> None:
        """Add one event; `voids` is the id it takes back ('' for none), and makes its quantity count negative."""
        self.events += 1
        self.quantity = EXACT.add(self.quantity, quantity.copy_negate() if voids else quantity)
        self.bits ^= id_bits(event_id, voids)

    @property
    def hash(self) -> str:
        """32 hex digits; zeros without events."""
        return f"{self.bits:0{2 * HASH_BYTES}x}"


def id_bits(event_id: str, voids: str = "") -> int:
    """BLAKE2b with 16 bytes of the UTF-8 id, as a number; for a void, of its id, U+001F and the id it takes back.

    Their XOR is the same in every order. It hides an id that occurs twice, which the number of events shows.
    """
    # Ids have no control characters, so the separator cannot be part of an id.
    text = f"{event_id}{FIELD}{voids}" if voids else event_id
    return int.from_bytes(blake2b(text.encode(), digest_size=HASH_BYTES).digest(), "big")
