-- Outcome of the checks of tenant, lateness (arrival compared with event time, both in the log), source, type and quantity;
-- the exact quantity. The catalog is valid by event time: each event has the step of the history in which it happened.
CREATE TABLE amounted AS
WITH stepped AS (
    SELECT
        t.*,
        h.step,
        CASE WHEN quantity_type IS NULL THEN '1' ELSE quantity_text END      AS written,
        CASE WHEN quantity_type IS NULL THEN 'BIGINT' ELSE quantity_type END AS kind
    FROM typed AS t
    LEFT JOIN steps AS h ON t.event_ms >= h.from_ms AND t.event_ms < h.to_ms
    WHERE t.outcome IS NULL
),
classified AS (
    SELECT
        s.*,
        t.tenant_id IS NOT NULL                                              AS known_tenant,
        t.sources IS NULL OR list_contains(t.sources, coalesce(s.source, ''))  AS known_source,
        o.only_meter,
        -- If the event was redriven for one meter alone, the other meters do not matter.
        m.event_type IS NOT NULL AND (o.only_meter IS NULL OR list_contains(m.meters, o.only_meter)) AS known_type,
        number_refusal(kind, written, parts)                                 AS refusal
    FROM (SELECT *, number_parts(written) AS parts FROM stepped) AS s
    JOIN opened AS o ON o.partition = s.partition AND o."offset" = s."offset"
    LEFT JOIN tenants AS t ON t.step = s.step AND t.tenant_id = s.tenant_id
    LEFT JOIN measured_types AS m ON m.step = s.step AND m.tenant_id = s.tenant_id AND m.event_type = s.event_type
)
SELECT
    partition, "offset", arrival_ms, value, body, numbered, is_cloud, event_id, tenant_id, customer_id, event_type,
    source, voids, event_ms, nanos, step, only_meter, written AS quantity_text, kind AS quantity_kind,
    -- Fields of the event, used where there is no such property. A void has the id of the event that it takes back.
    [
        coalesce(voids, event_id), tenant_id, customer_id, event_type,
        replace(strftime(make_timestamp_ms(event_ms), '%Y-%m-%dT%H:%M:%S.%gZ'), '.000Z', 'Z'),
        written, nullif(source, '')
    ] || coalesce(own_texts, [NULL, NULL, NULL, NULL])                       AS own_texts,
    ['VARCHAR', 'VARCHAR', 'VARCHAR', 'VARCHAR', 'VARCHAR', kind, CASE WHEN source <> '' THEN 'VARCHAR' END]
        || coalesce(own_types, [NULL, NULL, NULL, NULL])                     AS own_types,
    CASE WHEN refusal IS NULL THEN number_value(written, parts) END          AS quantity,
    CASE
        WHEN NOT known_tenant                                                THEN 'unknown_tenant'
        WHEN arrival_ms - event_ms > $grace_ms AND arrival_ms >= $late_until_ms THEN 'too_late'
        WHEN event_ms - arrival_ms > $future_tolerance_ms                    THEN 'in_future'
        WHEN NOT known_source                                                THEN 'source_not_allowed'
        WHEN NOT known_type                                                  THEN 'unknown_event_type'
        ELSE refusal
    END                                                                      AS outcome
FROM classified
