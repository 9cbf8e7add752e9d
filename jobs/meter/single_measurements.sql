-- Events that add one plain measurement, which are most: no text is split for them, which is most of what the other branch
-- costs. Both have the same columns in the order of the window: a branch in another order would get a task of its own.
SELECT
    series,
    source_partition,
    CAST(1 AS BIGINT) AS samples,
    CAST(amount AS DECIMAL(38, 9)) AS amount,
    TRUE AS bounding,
    CAST(NULL AS STRING) AS latest,
    1 AS first_of_event,
    source_offset,
    backlog,
    arrival,
    proc_time
FROM first_seen
WHERE series IS NOT NULL
