CREATE TEMPORARY TABLE usage_period_sink (
    tenant_id    STRING,
    customer_id  STRING,
    meter        STRING,
    dims         STRING,
    part         STRING,
    period_start TIMESTAMP(3),
    period_end   TIMESTAMP(3),
    n            BIGINT,
    samples      BIGINT,
    total        DECIMAL(38, 9),
    lo           DECIMAL(38, 9),
    hi           DECIMAL(38, 9),
    latest       STRING,
    PRIMARY KEY (tenant_id, customer_id, meter, dims, part, period_start) NOT ENFORCED
) WITH (
    'table-name' = '$schema.usage_period',
    $jdbc
)
