CREATE TEMPORARY TABLE usage_period_sink (
    tenant_id   STRING,
    customer_id STRING,
    meter       STRING,
    dims        STRING,
    period_start TIMESTAMP(3),
    period_end TIMESTAMP(3),
    n           BIGINT,
    total       DECIMAL(38, 9),
    lo          DECIMAL(38, 9),
    hi          DECIMAL(38, 9),
    PRIMARY KEY (tenant_id, customer_id, meter, dims, period_start, period_end) NOT ENFORCED
) WITH (
    'table-name' = '$schema.usage_period',
    $jdbc
)
