"""Zones whose hours of the week usage follows, from one line of settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError


@dataclass(frozen=True, slots=True)
class Zones:
    """Zone of each tenant.

    Parameters
    ----------
    default:
        Of all that are not named.
    named:
        By tenant.
    """

    default: str = "Etc/UTC"
    named: Mapping[str, str] = field(default_factory=dict)

    def of(self, tenant_id: str) -> str:
        """Zone of a tenant."""
        return self.named.get(tenant_id, self.default)


def zones_of(text: str) -> Zones:
    """Zones of a line like `Etc/UTC;JFK=America/New_York`: the default, then tenants with `;` between them.

    Raises
    ------
    ValueError
        Names what is no IANA time zone, or no `tenant=zone`.
    """
    default, *rest = text.split(";")
    named: dict[str, str] = {}
    for part in rest:
        tenant, equals, zone = part.rpartition("=")
        if not equals or not tenant:
            raise ValueError(f"{part!r} is not tenant=zone")
        named[tenant.strip()] = _zone(zone)
    return Zones(_zone(default), named)


def _zone(text: str) -> str:
    name = text.strip()
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"{name!r} is no time zone of the IANA database") from error
    return name
