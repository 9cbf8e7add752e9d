-- Verdict on syntax. DuckDB's parser tolerates NaN, Infinity and a comma before a bracket: the skeleton shows those.
CREATE TABLE parsed AS
SELECT
    d.partition,
    d."offset",
    d.arrival_ms,
    d.value,
    d.body,
    CASE
        WHEN n.depth > $max_depth THEN 'nesting_too_deep'
        WHEN NOT json_valid(d.body) AND (
            s.bones LIKE '%"%' AND length(regexp_replace(s.bones, '[^"]', '', 'g')) % 2 = 1
            OR length(regexp_replace(s.bones, '[^\[{]', '', 'g')) > length(regexp_replace(s.bones, '[^\]}]', '', 'g'))
        ) THEN 'truncated_json'
        WHEN NOT json_valid(d.body) AND regexp_matches(d.body, '\\u[dD][89a-fA-F]') THEN 'invalid_unicode'
        WHEN NOT json_valid(d.body) OR regexp_matches(s.bones, ',\s*[\]}]') THEN 'malformed_json'
        WHEN json_type(d.body) <> 'OBJECT' THEN 'not_an_object'
        WHEN len(list_distinct(json_keys(d.body))) < len(json_keys(d.body))
            OR len(list_distinct(json_keys(d.body, '$.properties'))) < len(json_keys(d.body, '$.properties'))
            THEN 'duplicate_key'
        WHEN regexp_matches(replace(d.body, '\\', ''), '\\u0000') THEN 'nul_character'
        WHEN regexp_matches(s.bones, '(?i)[:\[,]\s*[+-]?(nan|inf)')
            THEN CASE WHEN regexp_matches(d.body, '"quantity"\s*:\s*-?(NaN|Infinity)')
                THEN 'non_finite_quantity' ELSE 'malformed_json' END
    END AS verdict
FROM decoded AS d
JOIN skeleton AS s USING (partition, "offset")
LEFT JOIN nesting AS n USING (partition, "offset")
