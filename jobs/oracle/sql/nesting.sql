-- Deepest nesting of the few texts with enough brackets to be over the limit: the highest running bracket balance.
CREATE TABLE nesting AS
WITH candidate AS (
    SELECT partition, "offset", bones
    FROM skeleton
    WHERE length(regexp_replace(bones, '[^\[{]', '', 'g')) > $max_depth
),
step AS (
    SELECT partition, "offset", place, bones[place] AS c
    FROM candidate, LATERAL (SELECT unnest(range(1, length(bones) + 1)) AS place)
),
balance AS (
    SELECT
        partition,
        "offset",
        sum(CASE WHEN c IN ('{', '[') THEN 1 WHEN c IN ('}', ']') THEN -1 ELSE 0 END)
            OVER (PARTITION BY partition, "offset" ORDER BY place) AS depth
    FROM step
)
SELECT partition, "offset", max(depth) AS depth
FROM balance
GROUP BY ALL
