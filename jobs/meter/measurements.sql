-- Fan-out: one event feeds several meters. Every expression the tick aggregates is computed here: an expression inside
-- an aggregate over a processing-time window makes the planner refuse the window once a column above it is pruned.
SELECT
    -- amount, series, samples (written only where they are not 1) and latest; udfs.wire.Measurement.
    $measurement_columns,
    -- Voids take back, and are not the smallest or largest amount.
    $measurement_samples = 1 AS bounding,
    CASE WHEN position_in_event = 1 THEN 1 ELSE 0 END AS first_of_event,
    source_partition,
    source_offset,
    backlog,
    arrival,
    proc_time
FROM first_seen
CROSS JOIN UNNEST($measurement_rows) WITH ORDINALITY AS fan_out(measurement, position_in_event)
