CREATE TEMPORARY TABLE usage_hour_sink (
    tenant_id    STRING,
    customer_id  STRING,
    meter        STRING,
    dims         STRING,
    part         STRING,
    hour_start   TIMESTAMP(3),
    n            BIGINT,
    samples      BIGINT,
    total        DECIMAL(38, 9),
    lo           DECIMAL(38, 9),
    hi           DECIMAL(38, 9),
    latest       STRING,
    PRIMARY KEY (tenant_id, customer_id, meter, dims, part, hour_start) NOT ENFORCED
) WITH (
    'table-name' = '$schema.usage_hour',
    $jdbc
)
