CREATE TEMPORARY TABLE dlq_sink (record STRING) WITH (
    'topic' = '$topic',
    'format' = 'raw',
    $exactly_once
)
