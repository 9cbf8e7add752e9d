"""Options of counting: rules for events, the catalog, and bounds of volume."""

from __future__ import annotations

from pydantic import Field

from tidemark.core.settings.section import Section

_TRANSACTION_MARGIN_S = 3_600


class EventSettings(Section):
    """The rules of lateness, and of repeated events."""

    grace_s: int = Field(172_800, ge=0, le=31 * 86_400, description="Latest arrival after event time that is counted.")
    future_tolerance_s: int = Field(
        300, ge=0, le=86_400, description="Earliest arrival before event time, for clock skew."
    )
    default_tenant: str = Field(
        "", max_length=256, description="Tenant of CloudEvents that name no tenant; empty: they are rejected."
    )
    redrive_window_s: int = Field(
        86_400,
        ge=0,
        le=31 * 86_400,
        description="How long after grace a dead letter may be redriven into the live run.",
    )
    outage_s: int = Field(86_400, ge=60, description="Longest outage after which a restore is still exact.")

    @property
    def dedupe_ttl_ms(self) -> int:
        """Lifetime of a dedupe key: by the rules of lateness and redrive, every copy arrives within it."""
        live_s = self.grace_s + self.future_tolerance_s + self.redrive_window_s
        return (live_s + self.outage_s) * 1_000

    @property
    def transaction_timeout_ms(self) -> int:
        """Life of a transaction that its job left behind: committable after the longest outage a restore may follow."""
        return (self.outage_s + _TRANSACTION_MARGIN_S) * 1_000


class CatalogSettings(Section):
    """How workers refresh the catalog."""

    refresh_s: int = Field(10, ge=1, le=3_600, description="How often workers check for a changed catalog.")
    # Not `schema`: pydantic has a method of that name.
    schema_name: str = Field(
        "catalog",
        pattern=r"^[a-z][a-z0-9_]{0,62}$",
        description="Schema of the catalog in use; set by `replay start --catalog-at`.",
    )
    max_age_s: int = Field(
        3_600, ge=10, le=86_400, description="Age of an unconfirmed catalog at which workers stop counting and wait."
    )
    customer_cache_size: int = Field(100_000, ge=100, description="Customers kept per worker.")


class QuotaSettings(Section):
    """Volumes of a tenant above which an alarm is raised."""

    tenant_measurements_per_hour: int = Field(
        10_000_000,
        ge=1,
        description="Measurements of a tenant in an hour of event time above which an alarm is raised.",
    )
    tenant_series: int = Field(
        1_000_000, ge=1, description="Series of a tenant active in an hour above which an alarm is raised."
    )
    tenant_unique_values: int = Field(
        5_000_000,
        ge=1,
        description="Values a tenant's unique meters hold in open periods above which an alarm is raised.",
    )
    interval_s: int = Field(60, ge=1, le=3_600, description="How often the volume of tenants is looked at.")
