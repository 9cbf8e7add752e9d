-- One row per offset: why it was rejected, or whether it was the first of its id and counted, or a duplicate.
-- An event that any of its meters refuses is rejected as a whole. Copies have one content (see doubts), so which of
-- them came first changes no total; of different contents, the lowest offset of the one partition counts.
-- A void goes by the id it takes back, among voids alone.
CREATE TABLE verdicts AS
WITH refused AS (
    SELECT partition, "offset", arg_min(refusal, meter) AS verdict
    FROM measured
    WHERE refusal IS NOT NULL
    GROUP BY partition, "offset"
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
        a.partition,
        a."offset",
        row_number() OVER (
            PARTITION BY a.tenant_id, a.source, a.voids IS NULL, coalesce(a.voids, a.event_id)
            ORDER BY a.partition, a."offset"
        ) AS place
    FROM amounted AS a
    ANTI JOIN rejected AS r USING (partition, "offset")
    WHERE a.verdict IS NULL
)
SELECT partition, "offset", verdict FROM rejected
UNION ALL
SELECT partition, "offset", CASE WHEN place = 1 THEN 'counted' ELSE 'duplicate' END FROM accepted
