-- What these statements cannot decide with certainty; must be empty, or a comparison says nothing.
CREATE TABLE doubts AS
SELECT partition, "offset", 'more than one "quantity" in the text' AS doubt
FROM amounted
WHERE verdict IS NULL AND quantity_type NOT IN ('VARCHAR') AND quantity_keys > 1
UNION ALL
SELECT min(partition), min("offset"), 'one id, different content in different partitions: ' || event_id
FROM amounted
WHERE verdict IS NULL
GROUP BY tenant_id, event_id
HAVING count(DISTINCT partition) > 1 AND count(DISTINCT value) > 1
UNION ALL
SELECT -1, -1, 'offsets with ' || count(*) || ' verdicts'
FROM verdicts
GROUP BY partition, "offset"
HAVING count(*) > 1
UNION ALL
SELECT -1, -1, 'rows without a verdict: ' || ((SELECT count(*) FROM raw) - (SELECT count(*) FROM verdicts))
WHERE (SELECT count(*) FROM raw) <> (SELECT count(*) FROM verdicts)
