-- Verdict on fields, and the event time in UTC milliseconds (rounded down), read digit by digit from RFC 3339.
CREATE TABLE typed AS
WITH split AS (
    SELECT
        *,
        regexp_extract(
            written_at, '^(\d{4}-\d\d-\d\d)[Tt ]([01]\d|2[0-3])(:\d\d:\d\d)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):?[0-5]\d)?$',
            ['day', 'hour', 'rest', 'fraction', 'zone', 'zone_hour']
        ) AS part
    FROM fields
),
local AS (
    SELECT
        *,
        try_cast(part.day || ' ' || part.hour || part.rest AS TIMESTAMP)     AS local_at,
        rpad(substr(part.fraction, 2, 3), 3, '0')::BIGINT                    AS millis,
        CASE
            WHEN part.zone IN ('Z', 'z') THEN 0
            WHEN part.zone = '' THEN NULL
            ELSE (CASE WHEN part.zone[1] = '-' THEN -1 ELSE 1 END)
                * (part.zone[2:3]::BIGINT * 60 + right(part.zone, 2)::BIGINT)
        END                                                                  AS zone_minutes
    FROM split
)
SELECT
    * EXCLUDE (part, local_at, millis, zone_minutes),
    epoch_ms(local_at) + millis - zone_minutes * 60000                       AS event_ms,
    CASE
        WHEN list_contains(id_types, NULL) OR len(list_filter(id_types, lambda x: x IS NULL)) > 0
            OR timestamp_type IS NULL                                        THEN 'missing_field'
        WHEN len(list_filter(id_types, lambda x: x <> 'VARCHAR')) > 0             THEN 'wrong_type'
        WHEN timestamp_type = 'NULL'                                         THEN 'invalid_timestamp'
        WHEN timestamp_type <> 'VARCHAR'                                     THEN 'wrong_type'
        WHEN local_at IS NULL                                                THEN 'invalid_timestamp'
        WHEN zone_minutes IS NULL                                            THEN 'timestamp_without_zone'
        WHEN len(list_filter(text_types, lambda x: x NOT IN ('VARCHAR', 'NULL'))) > 0 THEN 'wrong_type'
        WHEN properties_type <> 'OBJECT'                                     THEN 'wrong_type'
        WHEN version_type IN ('BIGINT', 'UBIGINT', 'DOUBLE', 'HUGEINT')
            AND schema_version::DOUBLE <> 1 AND schema_version::DOUBLE = floor(schema_version::DOUBLE)
                                                                             THEN 'unsupported_schema_version'
        WHEN version_type IS NOT NULL AND try_cast(schema_version AS DOUBLE) IS DISTINCT FROM 1 THEN 'wrong_type'
        WHEN version_type = 'VARCHAR'                                        THEN 'wrong_type'
        WHEN list_contains([event_id, tenant_id, customer_id, event_type], '')
            OR regexp_matches(concat(event_id, tenant_id, customer_id, event_type), '[\x00-\x1f\x7f]')
                                                                             THEN 'invalid_id'
        WHEN greatest(strlen(event_id), strlen(tenant_id), strlen(customer_id), strlen(event_type)) > $max_id_bytes
                                                                             THEN 'id_too_long'
        WHEN event_ms < 0 OR event_ms >= epoch_ms(TIMESTAMP '2101-01-01')    THEN 'invalid_timestamp'
    END                                                                      AS verdict
FROM local
