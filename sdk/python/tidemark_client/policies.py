"""Memory of failure policies: what to answer for a customer when Redis does not."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Optional

from tidemark_client.stored import Declared, OnUnknown

# Tenant, customer (None: the tenant's default) and meter.
Subject = tuple[str, Optional[str], str]


class Policies:
    """The last policies that were seen, those of the longest unasked customers forgotten first; for many threads.

    Parameters
    ----------
    otherwise:
        Policy where none was seen.
    size:
        How many are kept, tenants' defaults among them; about 300 bytes each.
    """

    def __init__(self, otherwise: OnUnknown, size: int) -> None:
        self._otherwise = otherwise
        self._size = size
        self._seen: OrderedDict[Subject, OnUnknown] = OrderedDict()
        self._lock = threading.Lock()

    def learn(self, subject: Subject, declared: Declared) -> None:
        """Keep a policy, or forget it where there is none any more."""
        with self._lock:
            if declared:
                self._seen[subject] = declared
                self._seen.move_to_end(subject)
                if len(self._seen) > self._size:
                    self._seen.popitem(last=False)
            elif declared == "":
                self._seen.pop(subject, None)

    def of(self, tenant: str, customer: str, meter: str) -> OnUnknown:
        """The customer's, else that of the tenant's default, else the one given at the start."""
        with self._lock:
            default = self._seen.get((tenant, None, meter), self._otherwise)
            return self._seen.get((tenant, customer, meter), default)
