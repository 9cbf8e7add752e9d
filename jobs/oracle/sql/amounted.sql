-- Verdict on tenant, lateness (a fact of the log: arrival against event time), type and quantity; the exact quantity.
CREATE TABLE amounted AS
WITH number AS (
    SELECT
        *,
        CASE WHEN quantity_type IS NULL THEN '1' ELSE quantity_text END      AS written,
        regexp_extract(quantity_text, '^[+-]?0*(\d*)(?:\.(\d*?)0*)?(?:[eE]([+-]?\d{1,9}))?$', ['whole', 'decimals', 'exponent'])
                                                                             AS digits
    FROM typed
    WHERE verdict IS NULL
),
scaled AS (
    SELECT
        *,
        regexp_full_match(written, '[+-]?\d+(\.\d+)?([eE][+-]?\d+)?')        AS is_number,
        coalesce(try_cast(digits.exponent AS BIGINT), 0)                     AS exponent,
        ltrim(digits.whole || digits.decimals, '0') = ''                     AS is_zero,
        -- Places of the leading digit before, and of the last digit after the point, once the exponent is applied.
        CASE
            WHEN digits.whole <> '' THEN length(digits.whole)
            ELSE length(ltrim(digits.decimals, '0')) - length(digits.decimals)
        END + coalesce(try_cast(digits.exponent AS BIGINT), 0)               AS places_before,
        CASE
            WHEN digits.decimals <> '' THEN length(digits.decimals)
            ELSE length(rtrim(digits.whole, '0')) - length(digits.whole)
        END - coalesce(try_cast(digits.exponent AS BIGINT), 0)               AS places_after
    FROM number
)
SELECT
    s.partition, s."offset", s.arrival_ms, s.value, s.body, s.event_id, s.tenant_id, s.customer_id, s.event_type,
    s.event_ms, s.quantity_type, s.quantity_keys,
    try_cast(written AS DECIMAL(38, 9))                                      AS quantity,
    CASE
        WHEN t.tenant_id IS NULL                                             THEN 'unknown_tenant'
        WHEN s.arrival_ms - s.event_ms > $grace_ms                           THEN 'too_late'
        WHEN s.event_ms - s.arrival_ms > $future_tolerance_ms                THEN 'in_future'
        WHEN NOT EXISTS (FROM meters AS m WHERE (m.tenant_id IS NULL OR m.tenant_id = s.tenant_id)
            AND list_contains(m.event_types, s.event_type))                  THEN 'unknown_event_type'
        WHEN NOT list_contains([NULL, 'VARCHAR', 'BIGINT', 'UBIGINT', 'HUGEINT', 'DOUBLE'], quantity_type)
            AND quantity_type IS NOT NULL                                    THEN 'wrong_type'
        WHEN regexp_full_match(written, '(?i)[+-]?(s?nan\d*|inf(inity)?)')   THEN 'non_finite_quantity'
        WHEN NOT is_number                                                   THEN 'invalid_quantity'
        WHEN is_zero                                                         THEN NULL
        WHEN places_before > 18                                              THEN 'quantity_out_of_range'
        WHEN places_after > 9                                                THEN 'quantity_too_precise'
    END                                                                      AS verdict
FROM scaled AS s
LEFT JOIN tenants AS t USING (tenant_id)
