CREATE TEMPORARY TABLE usage_day_sink (
    tenant_id    STRING,
    customer_id  STRING,
    meter        STRING,
    dims         STRING,
    part         STRING,
    `day`        DATE,
    n            BIGINT,
    samples      BIGINT,
    total        DECIMAL(38, 9),
    lo           DECIMAL(38, 9),
    hi           DECIMAL(38, 9),
    latest       STRING,
    PRIMARY KEY (tenant_id, customer_id, meter, dims, part, `day`) NOT ENFORCED
) WITH (
    'table-name' = '$schema.usage_day',
    $jdbc
)
