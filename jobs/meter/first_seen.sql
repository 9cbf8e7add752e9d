-- First wins. On processing time it is insert-only and keeps one boolean per key, in a bounded run too.
SELECT measurements, source_partition, source_offset, arrival, proc_time
FROM (
    SELECT
        decoded_event.measurements AS measurements,
        source_partition,
        source_offset,
        arrival,
        proc_time,
        ROW_NUMBER() OVER (PARTITION BY decoded_event.dedupe_key ORDER BY proc_time ASC) AS occurrence
    FROM decoded
    WHERE decoded_event.reject IS NULL
)
WHERE occurrence = 1
