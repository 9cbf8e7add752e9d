-- Records that these statements cannot decide with certainty; must be empty, or a comparison proves nothing.
CREATE TABLE doubts AS
WITH accepted AS (
    SELECT
        a.partition, a."offset", a.tenant_id, a.source, a.voids IS NULL AS original, coalesce(a.voids, a.event_id) AS id,
        a.only_meter, a.customer_id, a.event_ms, a.nanos
    FROM amounted AS a
    JOIN outcomes AS v ON v.partition = a.partition AND v."offset" = a."offset" AND v.outcome IN ('counted', 'duplicate')
),
spread AS (
    SELECT tenant_id, source, original, id, coalesce(only_meter, '') AS part, row_number() OVER () AS identity
    FROM accepted
    GROUP BY ALL
    HAVING min(partition) < max(partition)
),
copies AS (
    SELECT a.*, s.identity
    FROM accepted AS a
    JOIN spread AS s USING (tenant_id, source, original, id)
    WHERE s.part = coalesce(a.only_meter, '')
),
-- It is unknown which of two partitions was read first, so all copies must measure the same. Their bytes may differ.
contents AS (
    SELECT
        c.partition, c."offset", any_value(c.id) AS id, any_value(c.identity) AS identity,
        (any_value(c.customer_id), any_value(c.event_ms), any_value(c.nanos), list_sort(list((m.meter, m.dims, m.value, m.value_text, m.refusal)))) AS content
    FROM copies AS c
    LEFT JOIN measured AS m ON m.partition = c.partition AND m."offset" = c."offset"
    GROUP BY c.partition, c."offset"
)
SELECT min(partition) AS partition, min("offset") AS "offset",
    'one id, different content in different partitions: ' || any_value(id) AS doubt
FROM contents
GROUP BY identity
HAVING count(DISTINCT content) > 1
UNION ALL
-- A logarithm is a binary fraction: near the edge of a bin its last digit decides.
SELECT partition, "offset", 'value near the edge of a bin of meter ' || meter || ': ' || amount
FROM usage
WHERE part LIKE 'b%' AND amount <> 0 AND edge_bin(amount) IS NULL
    AND abs(bin_place(amount) - round(bin_place(amount))) < 1e-9
UNION ALL
SELECT -1, -1, 'offsets with ' || count(*) || ' outcomes'
FROM outcomes
GROUP BY partition, "offset"
HAVING count(*) > 1
UNION ALL
SELECT -1, -1, 'rows without an outcome: ' || ((SELECT count(*) FROM raw) - (SELECT count(*) FROM outcomes))
WHERE (SELECT count(*) FROM raw) <> (SELECT count(*) FROM outcomes)
