-- One row per offset: why it was rejected, or whether it was the first of its id and counted, or a duplicate.
-- An event that any of its meters refuses is rejected as a whole. Copies have one content (see doubts), so which of
-- them came first changes no total; of different contents, the lowest offset of the one partition counts.
CREATE TABLE verdicts AS
WITH refused AS (
    SELECT partition, "offset", min(refusal) AS verdict FROM measured WHERE refusal IS NOT NULL GROUP BY partition, "offset"
),
rejected AS (
    SELECT partition, "offset", verdict FROM decoded  WHERE verdict IS NOT NULL UNION ALL
    SELECT partition, "offset", verdict FROM parsed   WHERE verdict IS NOT NULL UNION ALL
    SELECT partition, "offset", verdict FROM typed    WHERE verdict IS NOT NULL UNION ALL
    SELECT partition, "offset", verdict FROM amounted WHERE verdict IS NOT NULL UNION ALL
    SELECT partition, "offset", verdict FROM refused
),
accepted AS (
    SELECT
        partition,
        "offset",
        row_number() OVER (PARTITION BY tenant_id, event_id ORDER BY partition, "offset") AS place
    FROM amounted
    WHERE verdict IS NULL
        AND (partition, "offset") NOT IN (SELECT (partition, "offset") FROM refused)
)
SELECT partition, "offset", verdict FROM rejected
UNION ALL
SELECT partition, "offset", CASE WHEN place = 1 THEN 'counted' ELSE 'duplicate' END FROM accepted
