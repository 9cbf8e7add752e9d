CREATE TEMPORARY TABLE anomaly_sink (
    tenant_id   STRING,
    customer_id STRING,
    meter       STRING,
    kind        STRING,
    `since`     TIMESTAMP(3),
    status      STRING,
    expected    DECIMAL(38, 9),
    observed    DECIMAL(38, 9),
    threshold   DECIMAL(38, 9),
    score       DECIMAL(38, 9),
    seen_at     TIMESTAMP(3),
    PRIMARY KEY (tenant_id, customer_id, meter, kind, `since`) NOT ENFORCED
) WITH (
    'table-name' = '$schema.anomaly',
    $jdbc
)
