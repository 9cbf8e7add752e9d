-- One row per offset: why it was rejected, or whether it was the first of its id and counted, or a duplicate.
-- An event is counted by the meters that take it. It is rejected as a whole only if some refuse it and none takes it.
-- Copies have one content (see doubts), so which of them came first changes no total; of different contents, the lowest
-- offset of the one partition counts. A void goes by the id it takes back, among voids alone; what was redriven for one
-- meter alone, among its like for that meter. It is declined, as a copy, where that meter counted the event
-- itself, or measures nothing of it.
CREATE TABLE verdicts AS
WITH refused AS (
    SELECT partition, "offset", arg_min(refusal, meter) AS verdict
    FROM measured
    GROUP BY partition, "offset"
    HAVING count(refusal) = count(*)
),
rejected AS (
    SELECT partition, "offset", verdict FROM decoded  WHERE verdict IS NOT NULL UNION ALL
    SELECT partition, "offset", verdict FROM parsed   WHERE verdict IS NOT NULL UNION ALL
    SELECT partition, "offset", verdict FROM typed    WHERE verdict IS NOT NULL UNION ALL
    SELECT partition, "offset", verdict FROM amounted WHERE verdict IS NOT NULL UNION ALL
    SELECT partition, "offset", coalesce(r.verdict, p.verdict) AS verdict
    FROM placed AS p
    LEFT JOIN refused AS r USING (partition, "offset")
    WHERE r.verdict IS NOT NULL OR p.verdict IS NOT NULL
),
accepted AS (
    SELECT
        a.partition, a."offset", a.tenant_id, a.source, a.voids IS NULL AS original, coalesce(a.voids, a.event_id) AS id,
        a.only_meter
    FROM amounted AS a
    ANTI JOIN rejected AS r USING (partition, "offset")
    WHERE a.verdict IS NULL
),
placed_among AS (
    SELECT
        *,
        row_number() OVER (
            PARTITION BY tenant_id, source, original, id, only_meter ORDER BY partition, "offset"
        ) AS place
    FROM accepted
),
declined AS (
    SELECT DISTINCT e.partition, e."offset"
    FROM placed_among AS e
    JOIN placed_among AS o ON o.tenant_id = e.tenant_id AND o.source = e.source AND o.original = e.original AND o.id = e.id
        AND o.only_meter IS NULL AND o.place = 1
    JOIN measured AS m ON m.partition = o.partition AND m."offset" = o."offset" AND m.meter = e.only_meter
    WHERE m.refusal IS NULL
    UNION
    SELECT e.partition, e."offset"
    FROM placed_among AS e
    ANTI JOIN measured AS m ON m.partition = e.partition AND m."offset" = e."offset"
    WHERE e.only_meter IS NOT NULL
)
SELECT partition, "offset", verdict, false AS declined FROM rejected
UNION ALL
SELECT
    a.partition,
    a."offset",
    CASE WHEN a.place = 1 AND d.partition IS NULL THEN 'counted' ELSE 'duplicate' END,
    d.partition IS NOT NULL
FROM placed_among AS a
LEFT JOIN declined AS d USING (partition, "offset")
