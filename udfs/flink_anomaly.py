"""PyFlink adapter of the anomaly detectors: keyed state and event-time timers; nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from pyflink.common import Row, Time, Types
from pyflink.datastream import KeyedProcessFunction, RuntimeContext
from pyflink.datastream.state import StateTtlConfig, ValueStateDescriptor

from udfs.anomaly.alerts import AlertRow, row_of
from udfs.anomaly.detector import Detector
from udfs.anomaly.series import Minute, Series, series_of
from udfs.anomaly.tuning import MINUTE_MS, Tuning
from udfs.anomaly.zones import Zones

STATE = "detector"
# A watermark of this says that the input has ended, not that time has passed.
_END_OF_INPUT = 2**63 - 1

ALERT_ROW = Types.ROW_NAMED(
    list(AlertRow._fields), [Types.LONG() if name.endswith("_ms") else Types.STRING() for name in AlertRow._fields]
)


class DetectAnomalies(KeyedProcessFunction):  # type: ignore[misc]
    """Minutes of one series to its anomalies.

    The state is one value, the bytes of the detector. It goes when the series was silent for `forget_ms` of event time;
    the TTL only catches what a job leaves behind whose watermark stands still.

    Parameters
    ----------
    tuning:
        Levels and memories.
    zones:
        Zone of each tenant.
    ttl_days:
        Life of a state that nothing writes, processing time.
    """

    def __init__(self, tuning: Tuning, zones: Zones, ttl_days: int) -> None:
        self._tuning = tuning
        self._zones = zones
        self._ttl_days = ttl_days

    def open(self, runtime_context: RuntimeContext) -> None:
        """Declare the state."""
        descriptor = ValueStateDescriptor(STATE, Types.PRIMITIVE_ARRAY(Types.BYTE()))
        descriptor.enable_time_to_live(
            StateTtlConfig.new_builder(Time.days(self._ttl_days))
            .set_update_type(StateTtlConfig.UpdateType.OnCreateAndWrite)
            # The other visibility turns the worker's cache off: every access would be a call to the JVM.
            .set_state_visibility(StateTtlConfig.StateVisibility.ReturnExpiredIfNotCleanedUp)
            .build()
        )
        self._state = runtime_context.get_state(descriptor)
        metrics = runtime_context.get_metrics_group().add_group("tidemark")
        self._late = metrics.counter("lateMinutes")
        self._begun = metrics.counter("anomaliesBegun")

    def process_element(self, value: Row, ctx: KeyedProcessFunction.Context) -> Iterable[Row]:
        """Columns (key, minute, n, total) of one minute; see `jobs/anomaly/minutes.sql`."""
        series = series_of(value[0])
        if not series.tenant_id:
            return  # a row of the clock: what it has to say is its watermark
        detector = self._load(series)
        timers = ctx.timer_service()
        yield from self._advance(detector, series, timers.current_watermark())
        if not detector.add(Minute(value[1] * MINUTE_MS, value[2], Decimal(value[3]))):
            self._late.inc()
        self._store(detector, timers)

    def on_timer(self, timestamp: int, ctx: KeyedProcessFunction.OnTimerContext) -> Iterable[Row]:
        """Judge what the watermark has passed, whether minutes came or not."""
        if self._state.value() is None:
            return
        series = series_of(ctx.get_current_key())
        detector = self._load(series)
        timers = ctx.timer_service()
        yield from self._advance(detector, series, max(timestamp, timers.current_watermark()))
        self._store(detector, timers)

    def _load(self, series: Series) -> Detector:
        return Detector(series, self._tuning, self._zones.of(series.tenant_id), self._state.value())

    def _advance(self, detector: Detector, series: Series, watermark: int) -> Iterator[Row]:
        # Step ends are exclusive: a watermark of t says that nothing at t or before will come.
        until_ms = detector.last_step_ms if watermark >= _END_OF_INPUT else watermark + 1
        for change in detector.advance(until_ms):
            if change.status == "firing":
                self._begun.inc()
            yield Row(*row_of(series, change))

    def _store(self, detector: Detector, timers: Any) -> None:
        if detector.forgotten:
            self._state.clear()
            return
        self._state.update(detector.dump())
        timers.register_event_time_timer(detector.wake_ms - 1)
