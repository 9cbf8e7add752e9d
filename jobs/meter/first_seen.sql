-- First wins. On processing time it is insert-only and keeps one boolean per key, in a bounded run too. What single meters
-- refused of an event goes through it as well: it is reported once for all copies, and they are no loss.
SELECT measurements, backlog, partial_rejects, source_partition, source_offset, arrival, proc_time
FROM (
    SELECT
        decoded_event.measurements AS measurements,
        decoded_event.backlog AS backlog,
        decoded_event.reject AS partial_rejects,
        source_partition,
        source_offset,
        arrival,
        proc_time,
        ROW_NUMBER() OVER (PARTITION BY decoded_event.dedupe_key ORDER BY proc_time ASC) AS occurrence
    FROM decoded
    WHERE decoded_event.dedupe_key IS NOT NULL
)
WHERE occurrence = 1
