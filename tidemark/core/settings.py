"""Every setting in one typed class: flags beat the environment, which beats the file, which beats defaults."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from tidemark.core.addresses import Brokers, HttpUrl, PostgresUrl, RedisUrl
from tidemark.core.errors import UsageError
from tidemark.core.names import Names
from tidemark.core.setting_names import close_to, section, unknown, variables
from udfs.anomaly.zones import zones_of

ENV_PREFIX = "TIDEMARK_"
FILE_ENV = "TIDEMARK_CONFIG"
# What is no setting: the file, marks that the local stack puts on its processes, and what tests are given.
OTHER_VARIABLES = frozenset({FILE_ENV, "TIDEMARK_STACK", "TIDEMARK_PROGRAM", "TIDEMARK_CONFIGURATION"})
TEST_PREFIX = "TIDEMARK_TEST_"
# Where `tidemark up` leaves the settings of the local stack; read when FILE_ENV names no other file.
LOCAL_FILE = Path(".tidemark/local/settings.yaml")


class Settings(BaseSettings):
    """Settings of jobs and tools; times carry their unit in the name.

    Passwords: Postgres through a libpq password file (`postgres_passfile`, read by psycopg and by the JDBC driver, so
    that none enters a job graph); Redis through `redis_password`.
    """

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, extra="forbid", frozen=True)

    kafka_bootstrap: Brokers = Field("127.0.0.1:9092", description="Kafka bootstrap servers, host:port[,host:port].")
    events_topic: str = Field("usage.events", description="Source topic of raw events.")
    topic_partitions: int = Field(4, ge=1, le=1024, description="Partitions of a topic that `topics apply` creates.")
    topic_replication: int = Field(1, ge=1, le=9, description="Replication factor of a topic that is created.")
    postgres_url: PostgresUrl = Field(
        "postgresql://tidemark@127.0.0.1:5432/tidemark", description="TimescaleDB, no password."
    )
    postgres_passfile: Path | None = Field(None, description="libpq password file; libpq's own default when empty.")
    redis_url: RedisUrl = Field("redis://127.0.0.1:6379/0", description="Redis of the live counters, no password.")
    redis_password: SecretStr | None = Field(None, description="Password of Redis.")
    redis_timeout_ms: int = Field(250, ge=10, le=5_000, description="Longest wait of one Redis call in the hot path.")
    redis_retry_ms: int = Field(
        1_000, ge=100, le=10_000, description="Pause before Redis is tried again in the hot path."
    )
    flink_rest_url: HttpUrl = Field("http://127.0.0.1:8081", description="Flink JobManager REST and UI.")
    flink_conf_dir: Path | None = Field(None, description="Configuration `flink run` uses; FLINK_CONF_DIR when empty.")
    flink_lib_dir: Path | None = Field(
        None, description="Flink and connector jars of the client; FLINK_LIB_DIR when empty."
    )
    state_dir: str = Field("file:///tmp/tidemark-state", description="URI below which checkpoints and savepoints live.")
    run_id: str = Field("", description="Empty for the live run; a replay or trial has its own.")

    scope_from: str = Field("", description="First event time a replay measures, RFC 3339; set by `replay start`.")
    scope_to: str = Field("", description="First event time after it, RFC 3339; set by `replay start`.")
    scope_tenants: str = Field("", description="Tenants it measures, `;` between them; set by `replay start`.")
    late_until: str = Field(
        "", description="What arrived before this instant (RFC 3339) is never too late; set by `replay start`."
    )
    events_per_s: int = Field(
        0, ge=0, description="Most events `meter` reads a second, for a replay beside the live run; 0: no bound."
    )

    grace_s: int = Field(172_800, ge=0, le=31 * 86_400, description="Latest arrival after event time that is counted.")
    future_tolerance_s: int = Field(
        300, ge=0, le=86_400, description="Earliest arrival before event time, for clock skew."
    )
    default_tenant: str = Field(
        "", max_length=256, description="Tenant of CloudEvents that name none; empty: rejected."
    )
    redrive_window_s: int = Field(
        86_400,
        ge=0,
        le=31 * 86_400,
        description="How long after grace a dead letter may be redriven into the live run.",
    )
    outage_s: int = Field(86_400, ge=60, description="Longest outage after which a restore is still exact.")
    state_ttl_days: int = Field(
        400, ge=32, description="Life of period totals; longer than the longest billing period."
    )

    checkpoint_interval_ms: int = Field(1_000, ge=100, description="Flink checkpoint interval of `meter`.")
    rollup_checkpoint_interval_ms: int = Field(5_000, ge=100, description="Flink checkpoint interval of `rollup`.")
    tick_ms: int = Field(250, ge=50, le=60_000, description="How often `meter` emits deltas.")
    bundle_ms: int = Field(50, ge=1, le=5_000, description="Longest wait of an event for its Python batch.")
    minibatch_ms: int = Field(5_000, ge=100, le=60_000, description="Mini-batch of `rollup` before it upserts.")
    meter_parallelism: int = Field(1, ge=1, description="Parallelism of `meter`.")
    rollup_parallelism: int = Field(1, ge=1, description="Parallelism of `rollup`.")
    sliding_disorder_s: int = Field(600, ge=0, description="Watermark bound of the sliding windows, event time.")
    sliding_history_s: int = Field(
        604_800,
        ge=0,
        le=365 * 86_400,
        description="Sliding windows that ended longer ago than this are not written; 0: all are.",
    )
    customer_windows: bool = Field(
        True, description="Keep sliding windows per customer too: up to 17 rows a customer, meter and minute."
    )
    source_idle_s: int = Field(30, ge=1, description="A partition silent for this long stops holding back watermarks.")
    bounded_tick_s: int = Field(60, ge=1, description="Tick of a bounded run, in arrival time.")
    bounded_disorder_s: int = Field(
        3_600, ge=0, description="Arrival disorder allowed within a partition of a bounded run."
    )

    catalog_refresh_s: int = Field(10, ge=1, le=3_600, description="How often workers look for a changed catalog.")
    catalog_schema: str = Field(
        "catalog",
        pattern=r"^[a-z][a-z0-9_]{0,62}$",
        description="Schema of the catalog that is measured by; set by `replay start --catalog-at`.",
    )
    catalog_max_age_s: int = Field(
        3_600, ge=10, le=86_400, description="Age of an unconfirmed catalog at which workers stop counting and wait."
    )
    customer_cache_size: int = Field(100_000, ge=100, description="Customers kept per worker.")
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
    watch_interval_s: int = Field(60, ge=1, le=3_600, description="How often the volume of tenants is looked at.")
    alert_group_wait_s: int = Field(
        10, ge=1, le=3_600, description="Window of alert time in which related alerts become one notification."
    )
    delivery_attempts: int = Field(
        10,
        ge=1,
        le=100,
        description="Attempts at a notification before it is a dead letter: 10 take two hours at most.",
    )
    delivery_timeout_ms: int = Field(
        10_000, ge=100, le=60_000, description="Longest wait for a connection to a receiver, and for its answer."
    )
    delivery_threads: int = Field(4, ge=1, le=64, description="Receivers that are told at the same time.")
    response_check_s: int = Field(5, ge=1, le=60, description="How often flags of suspended customers are looked at.")
    reconcile_tolerance: Decimal = Field(
        Decimal(0), ge=0, description="Difference of two quantities that reconciliation lets pass; counts have none."
    )
    live_refresh_s: int = Field(5, ge=1, le=25, description="How often stored totals are written into Redis again.")
    leaderboard_size: int = Field(10, ge=1, le=1_000, description="Customers in the leaderboard of a tenant and meter.")

    close_settle_s: int = Field(
        5, ge=1, le=600, description="Longest delay of a tick's timer past a checkpoint barrier that is allowed for."
    )
    close_max_lag_s: int = Field(
        900, ge=1, description="Time behind the clock at which a period that is due is refused instead of waited for."
    )
    close_max_dead_letters: int = Field(
        100, ge=0, description="Dead letters of a customer in a period above which it is not closed."
    )
    close_max_periods: int = Field(
        100, ge=1, description="Periods of one customer that are closed at once; more wait for `close --yes`."
    )
    close_max_jump_days: int = Field(
        35,
        ge=1,
        le=36_500,
        description="Days the arrival watermark may move between two closes; what is due by a greater jump waits for "
        "`close --yes`.",
    )
    close_interval_s: int = Field(60, ge=1, le=86_400, description="How often `close --watch` looks.")
    heartbeat_tenant: str = Field(
        "", max_length=256, description="Tenant of heartbeats, which let idle partitions close; empty: none are sent."
    )
    heartbeat_s: int = Field(60, ge=1, le=86_400, description="Silence of a partition after which it gets a heartbeat.")

    archive_dir: str = Field(
        "", description="Folder, or file: URI, of the archive of raw records; empty: nothing is archived."
    )
    archive_file_rows: int = Field(
        1_000_000, ge=1, le=100_000_000, description="Most records of an archive file; 256 MiB of them end it too."
    )
    archive_interval_s: int = Field(
        3_600, ge=1, le=86_400, description="How often `archive run --watch` archives what has arrived."
    )
    retention_minute_days: int = Field(0, ge=0, description="Age at which usage_minute is dropped; 0: never.")
    retention_hour_days: int = Field(0, ge=0, description="Age at which usage_hour is dropped; 0: never.")
    retention_sliding_days: int = Field(0, ge=0, description="Age at which sliding windows are dropped; 0: never.")
    retention_events_days: int = Field(0, ge=0, description="Retention of the events topic in Kafka; 0: left as it is.")
    retention_deltas_days: int = Field(0, ge=0, description="Retention of the deltas topic; 0: left as it is.")
    retention_dlq_days: int = Field(0, ge=0, description="Retention of the dead-letter topic; 0: left as it is.")
    retention_archive_days: int = Field(0, ge=0, description="Age at which archived records are removed; 0: never.")

    anomaly_parallelism: int = Field(1, ge=1, description="Parallelism of `anomaly`.")
    anomaly_checkpoint_interval_ms: int = Field(5_000, ge=100, description="Flink checkpoint interval of `anomaly`.")
    anomaly_disorder_s: int = Field(600, ge=0, description="Watermark bound of the anomaly detectors, event time.")
    anomaly_zones: str = Field(
        "Etc/UTC", description="Zone whose hours of the week usage follows; then `;tenant=zone` for tenants of others."
    )
    anomaly_clock: bool = Field(
        True, description="Whether time passes for `anomaly` while all topics are silent; false while loading history."
    )
    anomaly_cached_series: int = Field(10_000, ge=100, description="Series a worker of `anomaly` keeps in memory.")

    @field_validator("postgres_url", "redis_url")
    @classmethod
    def _without_password(cls, url: str) -> str:
        authority = url.partition("://")[2].partition("@")
        if authority[1] and ":" in authority[0]:
            raise ValueError("carries a password, and a URL is printed and logged; use the password file or setting")
        return url

    @field_validator("scope_from", "scope_to", "late_until")
    @classmethod
    def _instant(cls, text: str) -> str:
        if text and datetime.fromisoformat(text).tzinfo is None:
            raise ValueError("has no zone; write for example 2026-01-01T00:00:00Z")
        return text

    @field_validator("anomaly_zones")
    @classmethod
    def _known_zones(cls, text: str) -> str:
        zones_of(text)
        return text

    @model_validator(mode="after")
    def _known_run_id(self) -> Settings:
        try:
            Names(self.run_id)
        except UsageError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def names(self) -> Names:
        """Names of everything this run writes to."""
        return Names(self.run_id)

    @property
    def dedupe_ttl_ms(self) -> int:
        """Life of a dedupe key: by the rules of lateness and redrive no copy comes after its original's key is gone."""
        live_s = self.grace_s + self.future_tolerance_s + self.redrive_window_s
        return (live_s + self.outage_s) * 1_000

    @property
    def redrive_topic(self) -> str:
        """Topic of redriven dead letters, whose record timestamps are their original arrivals; `meter` reads it too."""
        return f"{self.events_topic}.redrive"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags, then environment, then the one file."""
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=settings_file())


def settings_file() -> Path | None:
    """The file settings come from: TIDEMARK_CONFIG, else the local stack's, else none."""
    named = os.environ.get(FILE_ENV)
    if named:
        if not Path(named).is_file():
            raise UsageError(f"{FILE_ENV}={named} is not a file.", f"correct or unset {FILE_ENV}.")
        return Path(named)
    return LOCAL_FILE if LOCAL_FILE.is_file() else None


def load(**flags: Any) -> Settings:
    """Settings from flags (None means not given), environment and file.

    Raises
    ------
    UsageError
        Lists every missing or wrong key at once, and where each was looked for.
    """
    given = {key: value for key, value in flags.items() if value is not None}
    source = settings_file()
    faults = misspelt(os.environ)
    try:
        settings = Settings(**given)
    except ValidationError as error:
        faults += [_fault(one) for one in error.errors()]
    if faults:
        raise UsageError(
            "settings are wrong:\n" + "\n".join(f"  {fault}" for fault in faults) + "\nlooked in: flags, "
            f"{ENV_PREFIX}* of the environment, {source or f'no file ({FILE_ENV} is unset)'}.",
            "correct the keys above; `tidemark settings` lists all with their meaning.",
        )
    if settings.postgres_passfile is not None:
        os.environ["PGPASSFILE"] = str(settings.postgres_passfile)
    return settings


def check_environment() -> None:
    """Refuse variables that look like settings and are none, for a command that reads no setting.

    Raises
    ------
    UsageError
        Names each with what was meant.
    """
    faults = misspelt(os.environ)
    if faults:
        raise UsageError("; ".join(faults) + ".", "correct or unset it.")


def misspelt(environment: Mapping[str, str]) -> list[str]:
    """What is wrong with variables that look like settings and are none; nothing would read them."""
    delimiter = Settings.model_config.get("env_nested_delimiter") or ""
    known = {*variables(Settings, ENV_PREFIX, delimiter), *OTHER_VARIABLES}
    own = {name: value for name, value in environment.items() if not name.upper().startswith(TEST_PREFIX)}
    return [
        f"{name} of the environment: there is no such setting{f'; did you mean {meant}?' if meant else ''}"
        for name, meant in unknown(own, ENV_PREFIX, known).items()
    ]


def _fault(error: Any) -> str:
    name = ".".join(map(str, error["loc"])) or "settings"
    if error["type"] == "extra_forbidden":
        meant = close_to(str(error["loc"][-1]), section(Settings, error["loc"][:-1]))
        return f"{name}: there is no such setting{f'; did you mean {meant}?' if meant else ''}"
    return f"{name}: {error['msg'].removeprefix('Value error, ')} (got {_masked(error)})"


def _masked(error: Any) -> str:
    secret = any("password" in str(part) for part in error["loc"]) or "password" in error["msg"]
    # What stands before the @ of a URL that was not understood may hold one.
    return "***" if secret else re.sub(r"[^/@]+@", "***@", repr(error["input"]))[:80]
