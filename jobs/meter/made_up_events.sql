-- The source of a warm-up: events like those of a busy hour, one in twenty twice, a part of them old enough for a backlog.
CREATE TEMPORARY TABLE raw_events (
    source_offset   BIGINT,
    payload         AS ENCODE(
        CONCAT(
            '{"event_id":"', CAST(source_offset - CASE WHEN MOD(source_offset, 20) = 0 THEN 1 ELSE 0 END AS STRING),
            '","tenant_id":"$tenant","customer_id":"customer-', CAST(MOD(source_offset * 7919, 5000) AS STRING),
            '","event_type":"', CASE WHEN MOD(source_offset, 3) = 0 THEN '$summed' ELSE '$counted' END,
            '","timestamp":"', REPLACE(CAST(CAST(CURRENT_TIMESTAMP AS TIMESTAMP(3)) AS STRING), ' ', 'T'),
            'Z","quantity":', CAST(MOD(source_offset, 97) AS STRING), '.25}'
        ),
        'UTF-8'
    ),
    arrival         AS CAST(
        CASE
            WHEN MOD(source_offset / $batch, 2) = 0 THEN CURRENT_TIMESTAMP
            ELSE CURRENT_TIMESTAMP - INTERVAL '1' HOUR
        END AS TIMESTAMP_LTZ(3)
    ),
    kafka_topic     AS 'made-up',
    kafka_partition AS 0,
    proc_time       AS PROCTIME()
) WITH (
    'connector' = 'datagen',
    'number-of-rows' = '$events',
    'rows-per-second' = '$events',
    'fields.source_offset.kind' = 'sequence',
    'fields.source_offset.start' = '1',
    'fields.source_offset.end' = '$events'
)
