"""Options of the role `api`: where it listens, and what bounds it."""

from __future__ import annotations

from pydantic import Field

from tidemark.core.settings.listening import ADDRESS, OFF, Listening


class ApiSettings(Listening):
    """Where the role `api` answers HTTP requests, and what bounds it."""

    listen: str = Field(
        OFF, pattern=ADDRESS, description="host:port where the role `api` answers; port 0: a free one; `off`: no role."
    )
    ack_timeout_ms: int = Field(
        10_000,
        ge=100,
        le=60_000,
        description="Longest wait of a request for the brokers' acknowledgement; then it is answered with 503.",
    )
    queue_events: int = Field(
        50_000,
        ge=1_000,
        le=1_000_000,
        description="Events that a process holds until the brokers acknowledge them; above, requests get a 503.",
    )
    tenant_events_per_s: int = Field(
        10_000, ge=1, le=10_000_000, description="Events a second of a tenant, over all processes; above: 429."
    )
    tenant_burst_events: int = Field(
        20_000, ge=1_000, le=10_000_000, description="Events that a tenant may send at once after a pause."
    )
    key_cache_s: int = Field(
        10, ge=1, le=300, description="How long a process trusts what it read of a key: a revoked one ends so late."
    )
