-- The fields of every well-formed event, with the JSON type each has, from either form: native, or CloudEvents.
-- Numbers come out of DuckDB's JSON as doubles, so `numbered` has every number as a string: its digits stay.
CREATE TABLE fields AS
WITH numbered AS (
    SELECT
        * EXCLUDE (outcome),
        -- Text before a number: strings as a whole, so that digits inside strings are skipped. The number appended at
        -- the end makes every search succeed where it starts.
        regexp_replace(
            body || ' 0', '((?:[^"0-9-]|"(?:[^"\\]|\\.)*")*)(-?[0-9][0-9.eE+-]*)', '\1"\2"', 'g'
        )[:-5]                                                               AS numbered
    FROM parsed
    WHERE outcome IS NULL
),
read AS (
    SELECT
        *,
        json_type(body, [
            '$.event_id', '$.tenant_id', '$.customer_id', '$.event_type', '$.timestamp', '$.properties', '$.quantity',
            '$.voids', '$.source', '$.schema_version', '$.resource_id', '$.user_id', '$.session_id', '$.region',
            '$.specversion', '$.id', '$.tenantid', '$.subject', '$.type', '$.time', '$.data', '$.data.quantity',
            '$.datacontenttype', '$.data_base64'
        ])                                                                   AS t,
        json_extract_string(numbered, [
            '$.event_id', '$.tenant_id', '$.customer_id', '$.event_type', '$.timestamp', '$.none', '$.quantity',
            '$.voids', '$.source', '$.schema_version', '$.resource_id', '$.user_id', '$.session_id', '$.region',
            '$.specversion', '$.id', '$.tenantid', '$.subject', '$.type', '$.time', '$.none', '$.data.quantity',
            '$.datacontenttype'
        ])                                                                   AS x,
        t[15] IS NOT NULL AND t[1] IS NULL                                   AS is_cloud
    FROM numbered
),
picked AS (
    SELECT
        partition, "offset", arrival_ms, value, body, numbered, is_cloud,
        CASE WHEN is_cloud THEN x[16] ELSE x[1] END                          AS event_id,
        CASE WHEN is_cloud THEN coalesce(x[17], nullif($default_tenant, '')) ELSE x[2] END AS tenant_id,
        CASE WHEN is_cloud THEN x[18] ELSE x[3] END                          AS customer_id,
        CASE WHEN is_cloud THEN x[19] ELSE x[4] END                          AS event_type,
        CASE WHEN is_cloud THEN x[20] ELSE x[5] END                          AS written_at,
        x[8]                                                                 AS voids,
        CASE WHEN is_cloud THEN x[22] ELSE x[7] END                          AS quantity_text,
        CASE WHEN is_cloud THEN t[22] ELSE t[7] END                          AS quantity_type,
        CASE
            WHEN NOT is_cloud THEN [t[1], t[2], t[3], t[4]]
            WHEN t[17] IS NULL AND $default_tenant <> '' THEN [t[16], 'VARCHAR', t[18], t[19], t[9]]
            ELSE [t[16], t[17], t[18], t[19], t[9]]
        END                                                                  AS id_types,
        CASE WHEN is_cloud THEN t[20] ELSE t[5] END                          AS timestamp_type,
        CASE WHEN is_cloud THEN t[21] ELSE t[6] END                          AS properties_type,
        CASE WHEN NOT is_cloud THEN t[10] END                                AS version_type,
        x[10]                                                                AS schema_version,
        -- Fields of a native event that are plain text.
        CASE WHEN NOT is_cloud THEN [x[11], x[12], x[13], x[14]] END         AS own_texts,
        CASE WHEN NOT is_cloud THEN [t[11], t[12], t[13], t[14]] END         AS own_types,
        x[9]                                                                 AS source_text,
        t[9]                                                                 AS source_type,
        t[8]                                                                 AS voids_type,
        is_cloud AND (t[15] <> 'VARCHAR' OR x[15] <> '1.0')                  AS unknown_spec,
        is_cloud AND (
            t[24] IS NOT NULL
            OR t[23] NOT IN ('VARCHAR', 'NULL')
            OR NOT regexp_full_match(x[23], '(?is)[^\s;/]+/([^\s;/]+\+)?json\s*(;.*)?')
        )                                                                    AS unknown_data
    FROM read
)
SELECT
    * EXCLUDE (source_text, source_type, unknown_data),
    -- Producers of version 1 may use a field of that name for their own purposes.
    CASE
        WHEN is_cloud THEN source_text
        WHEN try_cast(schema_version AS DOUBLE) = 2 AND source_type <> 'NULL' THEN source_text
    END                                                                      AS source,
    CASE WHEN try_cast(schema_version AS DOUBLE) = 2 AND NOT is_cloud THEN source_type END AS source_type,
    coalesce(unknown_data, false)                                            AS unknown_data,
    CASE WHEN properties_type = 'OBJECT'
        THEN len(json_keys(body, CASE WHEN is_cloud THEN '$.data' ELSE '$.properties' END)) ELSE 0 END AS properties_count
FROM picked
