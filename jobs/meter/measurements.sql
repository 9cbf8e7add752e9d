-- Fan-out: one event feeds several meters. Every expression the tick aggregates is computed here: an expression inside
-- an aggregate over a processing-time window makes the planner refuse the window once a column above it is pruned.
SELECT
    SPLIT_INDEX(measurement, U&'\001e', 1) AS series,
    CAST(SPLIT_INDEX(measurement, U&'\001e', 0) AS DECIMAL(38, 9)) AS amount,
    -- Written only where it is not 1: voids take back, and are no smallest or largest amount.
    COALESCE(CAST(SPLIT_INDEX(measurement, U&'\001e', 2) AS BIGINT), 1) AS samples,
    COALESCE(SPLIT_INDEX(measurement, U&'\001e', 2), '1') = '1' AS bounding,
    NULLIF(SPLIT_INDEX(measurement, U&'\001e', 3), '') AS latest,
    CASE WHEN position_in_event = 1 THEN 1 ELSE 0 END AS first_of_event,
    source_partition,
    source_offset,
    arrival,
    proc_time
FROM first_seen
CROSS JOIN UNNEST(SPLIT(measurements, U&'\001d')) WITH ORDINALITY AS fan_out(measurement, position_in_event)
