-- The packed series unpacked, at the rate of deltas instead of the rate of events: udfs.wire.Series says its columns.
SELECT
    $series_columns,
    n, samples, total, lo, hi, latest, events, source_partition, first_offset, last_offset, backlog,
    tick_time
FROM ticks
