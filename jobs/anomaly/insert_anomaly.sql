-- TIMESTAMP in UTC, because the JDBC connector refuses TIMESTAMP_LTZ.
INSERT INTO anomaly_sink
SELECT
    tenant_id, customer_id, meter, kind,
    CAST(TO_TIMESTAMP_LTZ(since_ms, 3) AS TIMESTAMP(3)),
    status,
    CAST(expected AS DECIMAL(38, 9)),
    CAST(observed AS DECIMAL(38, 9)),
    CAST(threshold AS DECIMAL(38, 9)),
    CAST(score AS DECIMAL(38, 9)),
    CAST(TO_TIMESTAMP_LTZ(at_ms, 3) AS TIMESTAMP(3))
FROM changes
