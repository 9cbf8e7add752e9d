-- Every event that fits, once per meter that takes its type; a tenant's own meter hides a common one of the same name.
CREATE TABLE measured AS
WITH visible AS (
    SELECT * FROM meters AS m
    WHERE m.tenant_id IS NOT NULL
    UNION ALL
    SELECT t.tenant_id, m.* EXCLUDE (tenant_id)
    FROM meters AS m
    CROSS JOIN tenants AS t
    WHERE m.tenant_id IS NULL
        AND NOT EXISTS (FROM meters AS own WHERE own.tenant_id = t.tenant_id AND own.meter = m.meter)
),
pair AS (
    SELECT
        a.partition, a."offset", a.value, a.tenant_id, a.customer_id, a.event_id, a.event_ms,
        v.meter,
        CASE v.aggregation WHEN 'count' THEN 1::DECIMAL(38, 9) ELSE a.quantity END AS amount,
        v.aggregation = 'sum' AND a.quantity < 0 AND NOT v.allow_negative          AS too_low,
        len([name FOR name IN v.group_by
             IF json_type(a.body -> 'properties' -> ('/' || name)) IN ('OBJECT', 'ARRAY')]) > 0 AS no_text,
        CASE WHEN len(v.group_by) = 0 THEN '' ELSE '{' || array_to_string([
            to_json(name) || ':' || to_json(coalesce(a.body -> 'properties' ->> ('/' || name), ''))
            FOR name IN list_sort(v.group_by)
        ], ',') || '}' END                                                         AS dims
    FROM amounted AS a
    JOIN visible AS v ON v.tenant_id = a.tenant_id AND list_contains(v.event_types, a.event_type)
    WHERE a.verdict IS NULL
)
SELECT
    * EXCLUDE (too_low, no_text),
    CASE
        WHEN too_low                      THEN 'negative_quantity'
        WHEN no_text                      THEN 'wrong_type'
        WHEN strlen(dims) > $max_dims_bytes THEN 'dimension_too_long'
    END                                                                            AS refusal
FROM pair
