-- Outcome of the syntax checks. DuckDB's parser tolerates NaN, Infinity and a comma before a bracket: the skeleton shows
-- those. Duplicate keys are searched in the event and its properties, and at every depth where there is more.
CREATE TABLE parsed AS
WITH checked AS (
    SELECT
        d.partition, d."offset", d.arrival_ms, d.value, d.body, s.bones, n.depth,
        json_valid(d.body)                                                                  AS valid,
        CASE WHEN json_valid(d.body) AND coalesce(n.depth, 0) <= $max_depth
            THEN json_keys(d.body, ['$', '$.properties', '$.data']) END                     AS keys
    FROM decoded AS d
    JOIN skeleton AS s USING (partition, "offset")
    LEFT JOIN nesting AS n USING (partition, "offset")
),
-- Bodies with more keys than those: as many `":` are in their bones, unless there is space between.
more AS MATERIALIZED (
    SELECT partition, "offset", body
    FROM checked
    WHERE valid AND keys IS NOT NULL
        AND (len(string_split(bones, '":')) - 1 > len(flatten(keys)) OR regexp_matches(bones, '"\s+:'))
),
deeper AS (
    SELECT partition, "offset", count(*) > count(DISTINCT member.fullkey) AS twice
    FROM more, LATERAL (SELECT fullkey FROM json_tree(body)) AS member
    GROUP BY ALL
)
SELECT
    c.* EXCLUDE (bones, depth, valid, keys),
    CASE
        WHEN depth > $max_depth THEN 'nesting_too_deep'
        WHEN NOT valid AND (
            bones LIKE '%"%' AND length(regexp_replace(bones, '[^"]', '', 'g')) % 2 = 1
            OR length(regexp_replace(bones, '[^\[{]', '', 'g')) > length(regexp_replace(bones, '[^\]}]', '', 'g'))
        ) THEN 'truncated_json'
        WHEN NOT valid AND regexp_matches(body, '\\u[dD][89a-fA-F]') THEN 'invalid_unicode'
        WHEN NOT valid OR regexp_matches(bones, ',\s*[\]}]') THEN 'malformed_json'
        WHEN json_type(body) <> 'OBJECT' THEN 'not_an_object'
        WHEN len(list_distinct(keys[1])) < len(keys[1]) OR len(list_distinct(keys[2])) < len(keys[2])
            OR len(list_distinct(keys[3])) < len(keys[3]) OR d.twice THEN 'duplicate_key'
        WHEN contains(body, 'u0000') AND regexp_matches(replace(body, '\\', ''), '\\u0000') THEN 'nul_character'
        WHEN regexp_matches(bones, '(?i)[:\[,]\s*[+-]?(nan|inf)')
            THEN CASE WHEN regexp_matches(body, '"quantity"\s*:\s*-?(NaN|Infinity)')
                THEN 'non_finite_quantity' ELSE 'malformed_json' END
    END AS outcome
FROM checked AS c
LEFT JOIN deeper AS d USING (partition, "offset")
