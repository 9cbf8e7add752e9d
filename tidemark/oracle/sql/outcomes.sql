-- One row per offset: the reason of rejection, or `counted` for the first event of its id, or `duplicate`.
-- The meters that accept an event count it. An event is rejected as a whole only if some meters refuse it and no meter
-- accepts it. Copies have the same content (see doubts), so their order changes no total; of copies that differ, the
-- lowest offset of the one partition counts. A void is compared by the id that it takes back, with voids alone; an event
-- that was redriven for one meter alone, with events redriven for that meter. The latter is declined, as a duplicate,
-- where that meter counted the event itself, or measures nothing of it.
CREATE TABLE outcomes AS
WITH refused AS (
    SELECT partition, "offset", arg_min(refusal, meter) AS outcome
    FROM measured
    GROUP BY partition, "offset"
    HAVING count(refusal) = count(*)
),
rejected AS (
    SELECT partition, "offset", outcome FROM decoded  WHERE outcome IS NOT NULL UNION ALL
    SELECT partition, "offset", outcome FROM parsed   WHERE outcome IS NOT NULL UNION ALL
    SELECT partition, "offset", outcome FROM typed    WHERE outcome IS NOT NULL UNION ALL
    SELECT partition, "offset", outcome FROM amounted WHERE outcome IS NOT NULL UNION ALL
    SELECT partition, "offset", coalesce(r.outcome, p.outcome) AS outcome
    FROM placed AS p
    LEFT JOIN refused AS r USING (partition, "offset")
    WHERE r.outcome IS NOT NULL OR p.outcome IS NOT NULL
),
accepted AS (
    SELECT
        a.partition, a."offset", a.tenant_id, a.source, a.voids IS NULL AS original, coalesce(a.voids, a.event_id) AS id,
        a.only_meter
    FROM amounted AS a
    ANTI JOIN rejected AS r USING (partition, "offset")
    WHERE a.outcome IS NULL
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
SELECT partition, "offset", outcome, false AS declined FROM rejected
UNION ALL
SELECT
    a.partition,
    a."offset",
    CASE WHEN a.place = 1 AND d.partition IS NULL THEN 'counted' ELSE 'duplicate' END,
    d.partition IS NOT NULL
FROM placed_among AS a
LEFT JOIN declined AS d USING (partition, "offset")
