"""Which customers belong to a sample: by hash, the same for both sides and in every run."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from hashlib import blake2b

_BYTES = 8
_WHOLE = 1 << (8 * _BYTES)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which customers are checked.

    Parameters
    ----------
    tenant:
        Only this tenant; None for all.
    share:
        Share of the customers, by hash.
    """

    tenant: str | None = None
    share: Decimal = Decimal(1)

    @property
    def everything(self) -> bool:
        """Whether all customers are checked."""
        return self.tenant is None and self.share >= 1

    def takes(self, tenant: str, customer: str) -> bool:
        """Whether this customer is checked."""
        return self.tenant in (None, tenant) and (self.share >= 1 or sampled(tenant, customer, self.share))


def sampled(tenant: str, customer: str, share: Decimal) -> bool:
    """Whether a customer is in the sample of this share, 0 to 1: a greater share contains a smaller one."""
    return Decimal(_place(tenant, customer)) < share * _WHOLE


@lru_cache(maxsize=100_000)
def _place(tenant: str, customer: str) -> int:
    # The length in front keeps ("a", "bc") and ("ab", "c") apart.
    text = f"{len(tenant)}:{tenant}{customer}"
    return int.from_bytes(blake2b(text.encode(), digest_size=_BYTES).digest(), "big")
