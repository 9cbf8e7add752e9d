-- The fields of every well-formed event, with the JSON type each has.
-- Numbers come out of DuckDB's JSON as doubles, so the quantity is cut out of the text to stay exact.
CREATE TABLE fields AS
SELECT
    partition,
    "offset",
    arrival_ms,
    value,
    body,
    body ->> '$.event_id'                                                    AS event_id,
    body ->> '$.tenant_id'                                                   AS tenant_id,
    body ->> '$.customer_id'                                                 AS customer_id,
    body ->> '$.event_type'                                                  AS event_type,
    body ->> '$.timestamp'                                                   AS written_at,
    [json_type(body, '$.event_id'), json_type(body, '$.tenant_id'), json_type(body, '$.customer_id'),
     json_type(body, '$.event_type')]                                        AS id_types,
    [json_type(body, '$.resource_id'), json_type(body, '$.user_id'), json_type(body, '$.session_id'),
     json_type(body, '$.region')]                                            AS text_types,
    json_type(body, '$.timestamp')                                           AS timestamp_type,
    json_type(body, '$.properties')                                          AS properties_type,
    json_type(body, '$.schema_version')                                      AS version_type,
    body ->> '$.schema_version'                                              AS schema_version,
    json_type(body, '$.quantity')                                            AS quantity_type,
    CASE
        WHEN json_type(body, '$.quantity') = 'VARCHAR' THEN body ->> '$.quantity'
        ELSE regexp_extract(body, '"quantity"\s*:\s*([-+.0-9eE]+)', 1)
    END                                                                      AS quantity_text,
    len(regexp_extract_all(body, '"quantity"\s*:'))                          AS quantity_keys
FROM parsed
WHERE verdict IS NULL
