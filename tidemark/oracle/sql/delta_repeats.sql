-- Deltas seen more than once. An event feeds a series once, so the first offset names a delta of a series.
CREATE OR REPLACE VIEW delta_repeats AS
SELECT
    tenant_id, customer_id, meter, dims, part, minute_start, source_topic, source_partition, first_offset,
    count(*) AS seen
FROM deltas
GROUP BY ALL
HAVING count(*) > 1
