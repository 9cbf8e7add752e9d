-- Deepest nesting of the few texts with enough brackets to be over the limit: the highest running bracket balance.
CREATE TABLE nesting AS
WITH candidate AS (
    SELECT partition, "offset", string_split(regexp_replace(bones, '[^\[\]{}]', '', 'g'), '') AS brackets
    FROM skeleton
    WHERE length(bones) - length(replace(replace(bones, '[', ''), '{', '')) > $max_depth
),
step AS (
    SELECT
        partition,
        "offset",
        unnest(brackets)                            AS bracket,
        generate_subscripts(brackets, 1)            AS place
    FROM candidate
),
balance AS (
    SELECT
        partition,
        "offset",
        sum(CASE WHEN bracket IN ('{', '[') THEN 1 WHEN bracket IN ('}', ']') THEN -1 ELSE 0 END)
            OVER (PARTITION BY partition, "offset" ORDER BY place) AS depth
    FROM step
)
SELECT partition, "offset", max(depth) AS depth
FROM balance
GROUP BY ALL
