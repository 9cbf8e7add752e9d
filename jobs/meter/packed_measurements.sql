-- Fan-out of the other events: several measurements, voids, what has a `latest`. udfs.wire.Measurement.
SELECT
    $measurement_series AS series,
    source_partition,
    $measurement_samples AS samples,
    $measurement_amount AS amount,
    -- Voids take back, and are not the smallest or largest amount.
    $measurement_samples = 1 AS bounding,
    $measurement_latest AS latest,
    CASE WHEN position_in_event = 1 THEN 1 ELSE 0 END AS first_of_event,
    source_offset,
    backlog,
    arrival,
    proc_time
FROM first_seen
CROSS JOIN UNNEST($measurement_rows) WITH ORDINALITY AS fan_out(measurement, position_in_event)
WHERE packed IS NOT NULL
