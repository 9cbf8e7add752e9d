CREATE TEMPORARY TABLE usage_sliding_sink (
    tenant_id    STRING,
    meter        STRING,
    window_s     INT,
    window_start TIMESTAMP(3),
    window_end   TIMESTAMP(3),
    n            BIGINT,
    total        DECIMAL(38, 9),
    PRIMARY KEY (tenant_id, meter, window_s, window_end) NOT ENFORCED
) WITH (
    'table-name' = '$schema.usage_sliding',
    $jdbc
)
