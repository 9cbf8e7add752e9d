-- Outcome of the field checks, and the event time in UTC milliseconds (rounded down), read digit by digit from RFC 3339.
-- The event time of a CloudEvent without a time is its arrival.
CREATE TABLE typed AS
WITH split AS (
    SELECT
        *,
        is_cloud AND timestamp_type IS NULL                                  AS at_arrival,
        regexp_extract(
            written_at, '^(\d{4}-\d\d-\d\d)[Tt ]([01]\d|2[0-3])(:\d\d:\d\d)(\.\d+)?([Zz]|[+-]([01]\d|2[0-3]):?[0-5]\d)?$',
            ['day', 'hour', 'rest', 'fraction', 'zone', 'zone_hour']
        ) AS part
    FROM fields
),
local AS (
    SELECT
        *,
        part.rest LIKE '%:60'                                                AS is_leap,
        try_cast(part.day || ' ' || part.hour || regexp_replace(part.rest, ':60$', ':59') AS TIMESTAMP) AS local_at,
        -- A leap second is the last millisecond of its minute, and the last nanosecond of that.
        CASE WHEN is_leap THEN 999 ELSE rpad(substr(part.fraction, 2, 3), 3, '0')::BIGINT END AS millis,
        CASE WHEN is_leap THEN '999999' ELSE rpad(substr(part.fraction, 5, 6), 6, '0') END    AS written_nanos,
        CASE
            WHEN part.zone IN ('Z', 'z') THEN 0
            WHEN part.zone = '' THEN NULL
            ELSE (CASE WHEN part.zone[1] = '-' THEN -1 ELSE 1 END)
                * (part.zone[2:3]::BIGINT * 60 + right(part.zone, 2)::BIGINT)
        END                                                                  AS zone_minutes
    FROM split
),
timed AS (
    SELECT
        *,
        CASE WHEN at_arrival THEN '000000' ELSE written_nanos END            AS nanos,
        CASE WHEN at_arrival THEN arrival_ms ELSE epoch_ms(local_at) + millis - zone_minutes * 60000 END AS event_ms,
        [event_id, tenant_id, customer_id, event_type]
            || CASE WHEN source IS NULL THEN [] ELSE [source] END
            || CASE WHEN voids IS NULL THEN [] ELSE [voids] END              AS ids
    FROM local
)
SELECT
    partition, "offset", arrival_ms, value, body, numbered, is_cloud, event_id, tenant_id, customer_id, event_type,
    coalesce(source, '')                                                     AS source,
    voids, quantity_text, quantity_type, own_texts, own_types, event_ms, nanos,
    CASE
        WHEN unknown_spec                                                    THEN 'unsupported_schema_version'
        WHEN unknown_data                                                    THEN 'wrong_type'
        WHEN len(list_filter(id_types, lambda x: x IS NULL)) > 0
            OR (timestamp_type IS NULL AND NOT is_cloud)                     THEN 'missing_field'
        WHEN len(list_filter(id_types, lambda x: x <> 'VARCHAR')) > 0        THEN 'wrong_type'
        WHEN timestamp_type = 'NULL'                                         THEN 'invalid_timestamp'
        WHEN timestamp_type <> 'VARCHAR'                                     THEN 'wrong_type'
        WHEN NOT at_arrival AND local_at IS NULL                             THEN 'invalid_timestamp'
        WHEN is_leap AND (zone_minutes IS NULL OR event_ms // 60000 % 1440 <> 1439) THEN 'invalid_timestamp'
        WHEN NOT at_arrival AND zone_minutes IS NULL                         THEN 'timestamp_without_zone'
        WHEN len(list_filter(own_types, lambda x: x NOT IN ('VARCHAR', 'NULL'))) > 0 THEN 'wrong_type'
        WHEN voids_type NOT IN ('VARCHAR', 'NULL') OR source_type NOT IN ('VARCHAR', 'NULL') THEN 'wrong_type'
        WHEN properties_type NOT IN ('OBJECT', 'NULL') THEN 'wrong_type'
        WHEN version_type IN ('BIGINT', 'UBIGINT', 'DOUBLE', 'HUGEINT')
            AND schema_version::DOUBLE NOT IN (1, 2) AND schema_version::DOUBLE = floor(schema_version::DOUBLE)
                                                                             THEN 'unsupported_schema_version'
        WHEN version_type NOT IN ('BIGINT', 'UBIGINT', 'DOUBLE', 'HUGEINT', 'NULL') THEN 'wrong_type'
        WHEN coalesce(try_cast(schema_version AS DOUBLE), 1) NOT IN (1, 2) AND version_type IS NOT NULL THEN 'wrong_type'
        WHEN properties_count > $max_properties                              THEN 'too_many_properties'
        WHEN list_contains(ids, '')                                          THEN 'invalid_id'
        -- Controls, separators of lines and paragraphs, marks that turn the direction of text.
        WHEN regexp_matches(
            array_to_string(ids, ''),
            '[\x00-\x1f\x7f-\x{9f}\x{61c}\x{200e}\x{200f}\x{2028}-\x{202e}\x{2066}-\x{2069}]'
        )                                                                    THEN 'invalid_id'
        WHEN len(list_filter(ids, lambda x: strlen(x) > $max_id_bytes)) > 0  THEN 'id_too_long'
        WHEN event_ms < 0 OR event_ms >= epoch_ms(TIMESTAMP '2101-01-01')    THEN 'invalid_timestamp'
    END                                                                      AS outcome
FROM timed
