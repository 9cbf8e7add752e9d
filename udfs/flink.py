"""PyFlink adapters: hand Arrow batches to the pure core and hand its columns back; nothing is decided here."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any

import pandas as pd
from pyflink.table import DataTypes, FunctionContext
from pyflink.table.udf import ScalarFunction, udf

from udfs.catalog import Catalog
from udfs.catalog_store import PostgresCatalogSource
from udfs.decode import DecodePolicy, Decoder
from udfs.live import LivePublisher, LiveSettings, LiveTotal

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger(__name__)

# Between the measurements of one event, and between the amount and the series of one measurement. Control characters
# are rejected in ids and escaped in dims, so none can occur inside a field.
MEASUREMENT_SEPARATOR = "\x1d"
AMOUNT_SEPARATOR = "\x1e"
# The Redis password reaches the workers by their environment, never by the job graph.
REDIS_PASSWORD_ENV = "TIDEMARK_REDIS_PASSWORD"  # noqa: S105 the name of a variable

DECODED = DataTypes.ROW(
    [
        DataTypes.FIELD("dedupe_key", DataTypes.BYTES()),
        DataTypes.FIELD("measurements", DataTypes.STRING()),
        DataTypes.FIELD("reject", DataTypes.STRING()),
    ]
)


class DecodeEvents(ScalarFunction):  # type: ignore[misc]
    """Kafka records to dedupe key and measurements, or to a DLQ record; one call per Arrow batch.

    Parameters
    ----------
    policy:
        Lateness rule and source topic.
    postgres_url:
        Database of the catalog, without a password (libpq's password file is used).
    refresh_s, cache_size:
        How often the catalog is looked at again, in seconds; how many customers are kept.
    """

    def __init__(self, policy: DecodePolicy, postgres_url: str, refresh_s: int, cache_size: int) -> None:
        self._policy = policy
        self._postgres_url = postgres_url
        self._refresh_s = refresh_s
        self._cache_size = cache_size

    def open(self, function_context: FunctionContext) -> None:
        """Load the catalog; waits, and says so, while the database is away."""
        catalog = Catalog(PostgresCatalogSource(self._postgres_url), self._refresh_s, self._cache_size)
        self._decoder = Decoder(catalog, self._policy)
        metrics = function_context.get_metric_group().add_group("tidemark")
        self._accepted = metrics.counter("accepted")
        self._rejected = metrics.counter("rejected")
        metrics.gauge("catalogAgeSeconds", lambda: int(catalog.age_s))

    def eval(self, payload: pd.Series, arrival: pd.Series, partition: pd.Series, offset: pd.Series) -> pd.DataFrame:
        """Columns (payload, arrival as UTC timestamp, partition, offset) to the columns of DECODED."""
        arrivals_ms = (arrival.to_numpy().astype("datetime64[ms]").astype("int64")).tolist()
        payloads = [value if isinstance(value, bytes) else None for value in payload]
        batch = self._decoder.decode_batch(payloads, arrivals_ms, partition.tolist(), offset.tolist())
        measurements = pack(batch.series, batch.amounts)
        rejected = len(batch.rejects) - batch.rejects.count(None)
        self._rejected.inc(rejected)
        self._accepted.inc(len(payloads) - rejected)
        return pd.DataFrame(
            {
                "dedupe_key": pd.Series(batch.keys, dtype=object),
                "measurements": pd.Series(measurements, dtype=object),
                "reject": pd.Series(batch.rejects, dtype=object),
            }
        )


def pack(series: Sequence[list[str] | None], amounts: Sequence[list[str] | None]) -> list[str | None]:
    """One string per event: a single string column is cheaper to move than two columns of lists."""
    return [
        None
        if names is None or values is None
        else MEASUREMENT_SEPARATOR.join([v + AMOUNT_SEPARATOR + n for n, v in zip(names, values, strict=True)])
        for names, values in zip(series, amounts, strict=True)
    ]


class PublishLive(ScalarFunction):  # type: ignore[misc]
    """Running period totals to Redis, one pipeline per Arrow batch; returns an alert where there is one to send."""

    def __init__(self, settings: LiveSettings) -> None:
        self._settings = settings

    def is_deterministic(self) -> bool:
        """It has an effect, so the planner must neither drop nor repeat it."""
        return False

    def open(self, function_context: FunctionContext) -> None:
        """Prepare the publisher; Redis need not be there."""
        self._publisher = LivePublisher(self._settings, os.environ.get(REDIS_PASSWORD_ENV))
        metrics = function_context.get_metric_group().add_group("tidemark")
        self._written = metrics.counter("liveWritten")
        self._refused = metrics.counter("liveRefused")
        self._dropped = metrics.counter("liveDropped")

    def eval(self, *columns: pd.Series) -> pd.Series:
        """Columns of LiveTotal in its order to a column of alerts (JSON text or null), aligned with the input."""
        totals = [LiveTotal(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
        outcome = self._publisher.publish(totals)
        self._written.inc(outcome.written)
        self._refused.inc(outcome.refused)
        self._dropped.inc(outcome.dropped)
        alerts: list[Any] = [None] * len(totals)
        if totals and outcome.alert is not None:
            alerts[0] = outcome.alert
        return pd.Series(alerts, dtype=object)


def decode_events(function: DecodeEvents) -> Any:
    """The decode UDF; deterministic as far as the planner is concerned, so that it is planned once."""
    return udf(function, result_type=DECODED, func_type="pandas")


def publish_live(function: PublishLive) -> Any:
    """The publishing UDF; see `PublishLive.is_deterministic`."""
    return udf(function, result_type=DataTypes.STRING(), func_type="pandas", deterministic=False)
