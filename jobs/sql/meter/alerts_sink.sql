CREATE TEMPORARY TABLE alerts_sink (record STRING) WITH (
    'topic' = '$topic',
    'format' = 'raw',
    $exactly_once
)
