"""Options of the role `api`: where it listens, and what bounds it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from tidemark.core.settings.listening import ADDRESS, OFF, Listening
from tidemark.core.settings.section import Section

# They let somebody in: what is in an event is kept for ever.
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})


class EnrichRule(Section):
    """A property that events get where they do not state it: from a header of the request, or of its key."""

    property: str = Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")
    header: str = Field("", pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]*$", description="Header of the request.")
    key: Literal["", "name", "id"] = Field("", description="Instead of a header: the name or the id of the key.")
    overwrite: bool = Field(False, description="Whether it also replaces what an event states.")
    tenants: tuple[str, ...] = Field((), description="Only of these tenants; empty: of all.")

    @field_validator("header")
    @classmethod
    def _lower(cls, header: str) -> str:
        if header.lower() in _SECRET_HEADERS:
            raise ValueError(f"{header} holds a secret, which must not get into events; name another header")
        return header.lower()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.header) == bool(self.key):
            raise ValueError(f"the rule for {self.property} needs either `header` or `key`")
        return self

    def is_of(self, tenant: str) -> bool:
        """Whether events of a tenant are enriched by it."""
        return not self.tenants or tenant in self.tenants


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
    enrich: tuple[EnrichRule, ...] = Field(
        (),
        max_length=32,
        description="Properties that events get where they do not state them, each {property, header or key, "
        "overwrite, tenants} (docs/api.md).",
    )
    archive_records: int = Field(
        1_000_000,
        ge=0,
        le=100_000_000,
        description="Most archived records that one read of usage takes, for buckets beyond retention; 0: none.",
    )
    key_streams: int = Field(
        100, ge=1, le=200, description="Open streams of server-sent events of a key, of one process; above: 429."
    )
