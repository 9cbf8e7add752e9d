"""PyFlink adapters: hand Arrow batches to the pure core and hand its columns back; nothing is decided here."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyflink.table import DataTypes, FunctionContext
from pyflink.table.udf import ScalarFunction, udf

from udfs.catalog.cache import Catalog
from udfs.catalog.model import CatalogSource
from udfs.catalog.store import PostgresCatalogSource
from udfs.decode.backlog import Backlog
from udfs.decode.decoder import DecodePolicy, Decoder
from udfs.decode.pace import Pace
from udfs.events.reasons import Reason
from udfs.limits.cache import LimitCache
from udfs.limits.packing import packed_candidates
from udfs.limits.store import PostgresLimitSource
from udfs.limits.watch import LimitWatch
from udfs.live.publisher import LivePublisher, LiveSettings, unpack_change

# The Redis password reaches the workers by a file, or by their environment, never by the job graph.
REDIS_PASSWORD_ENV = "TIDEMARK_REDIS__PASSWORD"  # noqa: S105 the name of a variable

# A thread of its own waits for it.
LIMIT_REFRESH_TIMEOUT_MS = 10_000

# Of a warm-up: longer than it lasts, and more than it makes up.
_LONG_S, _CUSTOMERS = 3_600, 100_000

DECODED = DataTypes.ROW(
    [
        DataTypes.FIELD("dedupe_key", DataTypes.BYTES()),
        DataTypes.FIELD("measurements", DataTypes.STRING()),
        DataTypes.FIELD("backlog", DataTypes.BOOLEAN()),
        DataTypes.FIELD("reject", DataTypes.STRING()),
    ]
)


@dataclass(frozen=True, slots=True)
class CatalogOptions:
    """How workers reach the catalog; picklable, and without a password (libpq's password file is used).

    Parameters
    ----------
    postgres_url:
        Its database.
    refresh_s, max_age_s:
        How often it is read again, and the age at which workers stop and wait, in seconds.
    cache_size:
        Customers kept.
    schema:
        Schema of the catalog; that of a replay may be one as known at an earlier instant.
    limits_wait_ms:
        Longest wait of a batch for limits of customers that are seen first, and of a look-up for the database.
    """

    postgres_url: str
    refresh_s: int
    max_age_s: int
    cache_size: int
    schema: str = "catalog"
    limits_wait_ms: int = 500


@dataclass(frozen=True, slots=True)
class BatchOptions:
    """How a worker treats batches.

    Parameters
    ----------
    events_per_s:
        Most events a second of one worker; 0: no bound.
    backlog_after_ms:
        See `udfs.decode.backlog.Backlog`.
    """

    events_per_s: float = 0
    backlog_after_ms: int | None = None


class DecodeEvents(ScalarFunction):  # type: ignore[misc]
    """Kafka records to dedupe key and measurements, or to dead letters; one call per Arrow batch.

    Parameters
    ----------
    policy:
        What decides beside the catalog: lateness, source topics, default tenant.
    catalog:
        Where the catalog is, and how it is kept.
    batches:
        Their pace, and which of them are a backlog.
    """

    def __init__(self, policy: DecodePolicy, catalog: CatalogOptions, batches: BatchOptions = BatchOptions()) -> None:
        self._policy = policy
        self._options = catalog
        self._batches = batches

    def open(self, function_context: FunctionContext) -> None:
        """Load the catalog; waits, and logs that, while the database is down."""
        catalog = self._catalog()
        self._decoder = Decoder(catalog, self._policy)
        self._pace = Pace(self._batches.events_per_s)
        self._backlog = Backlog(self._batches.backlog_after_ms)
        metrics = function_context.get_metric_group().add_group("tidemark")
        self._accepted = metrics.counter("accepted")
        self._rejected = metrics.counter("rejected")
        self._partly = metrics.counter("partlyRejected")
        metrics.gauge("catalogAgeSeconds", lambda: int(catalog.age_s))
        self._dead_letters = {
            reason.value: metrics.add_group("reason", reason.value).counter("deadLetters") for reason in Reason
        }

    def _catalog(self) -> Catalog:
        options = self._options
        source = PostgresCatalogSource(options.postgres_url, options.schema)
        return Catalog(source, options.refresh_s, options.cache_size, max_age_s=options.max_age_s)

    def eval(self, payload: pd.Series, arrival: pd.Series, partition: pd.Series, offset: pd.Series) -> pd.DataFrame:
        """Columns (payload, arrival as UTC timestamp, partition, offset) to the columns of DECODED."""
        self._pace.take(len(payload))
        arrivals_ms = (arrival.to_numpy().astype("datetime64[ms]").astype("int64")).tolist()
        batch = self._decoder.decode_batch(payload.tolist(), arrivals_ms, partition.tolist(), offset.tolist())
        rejected = batch.keys.count(None)
        self._rejected.inc(rejected)
        self._partly.inc(len(batch.rejects) - batch.rejects.count(None) - rejected)
        self._accepted.inc(len(batch.keys) - rejected)
        for reason, count in self._decoder.reasons.items():
            self._dead_letters[reason].inc(count)
        backlog = [self._backlog.holds(len(payload), max(arrivals_ms))] * len(payload) if arrivals_ms else []
        return decoded_frame(batch.keys, batch.measurements, backlog, batch.rejects)


# The names of DECODED, once: to make them anew costs as much as all the rest of a small frame.
_COLUMNS = pd.Index(DECODED.names)


def decoded_frame(*columns: Sequence[object]) -> pd.DataFrame:
    """The columns of DECODED as one block of objects: a frame made of Series costs 0.2 ms more, however few rows."""
    block = np.empty((len(columns), len(columns[0])), dtype=object)
    for place, column in enumerate(columns):
        block[place] = column
    return pd.DataFrame(block.T, columns=_COLUMNS, dtype=object, copy=False)


def redis_password(file: str) -> str | None:
    """Password of a file of this worker, else of its environment."""
    return Path(file).read_text("utf-8").strip() if file else os.environ.get(REDIS_PASSWORD_ENV)


class PublishLive(ScalarFunction):  # type: ignore[misc]
    """Running period totals to Redis, one pipeline per Arrow batch; returns candidates for alerts, where there are any.

    Parameters
    ----------
    settings:
        Redis.
    catalog:
        Where limits are; never waited for.
    """

    def __init__(self, settings: LiveSettings, catalog: CatalogOptions) -> None:
        self._settings = settings
        self._options = catalog

    def is_deterministic(self) -> bool:
        """It has an effect, so the planner must neither drop nor repeat it."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Prepare the publisher; neither Redis nor the database need be there."""
        self._cache = limit_cache(self._options)
        watch = LimitWatch(self._cache, lambda: time.time_ns() // 1_000_000)
        self._publisher = LivePublisher(self._settings, watch, redis_password(self._settings.password_file))
        metrics = function_context.get_metric_group().add_group("tidemark")
        self._batches = metrics.counter("liveBatches")
        self._written = metrics.counter("liveWritten")
        self._refused = metrics.counter("liveRefused")
        self._dropped = metrics.counter("liveDropped")
        self._unknown = metrics.counter("limitsUnknown")
        self._invalid = metrics.counter("liveInvalid")

    def close(self) -> None:
        """End the thread that refreshes the limits."""
        self._cache.close()
        self._publisher.close()

    def eval(self, packed: pd.Series) -> pd.Series:
        """A column of `udfs.wire.LIVE_CHANGE` to one of `udfs.wire.CANDIDATE`, several in a text, or null."""
        outcome = self._publisher.publish([unpack_change(text) for text in packed])
        self._batches.inc()
        self._written.inc(outcome.written)
        self._refused.inc(outcome.refused)
        self._dropped.inc(outcome.dropped)
        self._unknown.inc(outcome.unknown)
        self._invalid.inc(outcome.invalid)
        return pd.Series([packed_candidates(alerts) for alerts in outcome.alerts], dtype=object)


class MadeUpCatalog(DecodeEvents):
    """Decodes by a catalog that is part of the job, for a warm-up.

    Parameters
    ----------
    policy, batches:
        As of `DecodeEvents`.
    source:
        The catalog.
    """

    def __init__(self, policy: DecodePolicy, source: CatalogSource, batches: BatchOptions) -> None:
        super().__init__(policy, CatalogOptions("", _LONG_S, _LONG_S, _CUSTOMERS), batches)
        self._source = source

    def _catalog(self) -> Catalog:
        return Catalog(self._source, _LONG_S, _CUSTOMERS)


class SwallowLive(ScalarFunction):  # type: ignore[misc]
    """Takes what would be published, for a warm-up: nothing is written, and no alert is due."""

    def is_deterministic(self) -> bool:
        """As `PublishLive`, in whose place it is."""
        return False

    def eval(self, packed: pd.Series) -> pd.Series:
        """A column of nulls."""
        return pd.Series([None] * len(packed), dtype=object)


def limit_cache(options: CatalogOptions) -> LimitCache:
    """The limits of a catalog, refreshed twice as often as it may change: half the time for each of two."""
    return LimitCache(
        PostgresLimitSource(options.postgres_url, LIMIT_REFRESH_TIMEOUT_MS, options.schema),
        PostgresLimitSource(options.postgres_url, options.limits_wait_ms, options.schema),
        refresh_s=options.refresh_s / 2,
        cache_size=options.cache_size,
        wait_s=options.limits_wait_ms / 1_000,
    )


def decode_events(function: DecodeEvents) -> Any:
    """The decode UDF; deterministic as far as the planner is concerned, so that it is planned once."""
    return udf(function, result_type=DECODED, func_type="pandas")


def publish_live(function: PublishLive | SwallowLive) -> Any:
    """The publishing UDF; see `PublishLive.is_deterministic`."""
    return udf(function, result_type=DataTypes.STRING(), func_type="pandas", deterministic=False)
