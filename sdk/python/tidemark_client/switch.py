"""Which version of the usage people read: a key that names, where it is another one, the first part of its keys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from tidemark_client.keys import encoded

# Stands for every tenant without a name of its own in the switch; no encoded id is like it.
EVERY_TENANT = "*"
_NOTHING: Mapping[str, Any] = {}


def tenant_name(tenant: str) -> str:
    """A tenant as the switch names it: percent-encoded, as in keys."""
    return encoded(tenant)


def version_of(switch: Any, tenant: str, own: str) -> str:
    """Prefix that people read of a tenant; `own` where the switch names none, or cannot be read."""
    if switch is None:
        return own
    named = _read(switch) if isinstance(switch, str) else _NOTHING
    found = named.get(tenant_name(tenant), named.get(EVERY_TENANT))
    return found if isinstance(found, str) and found else own


@lru_cache(maxsize=16)
def _read(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return _NOTHING
    return document if isinstance(document, dict) else _NOTHING
