-- Time passes also while all topics are silent: their watermarks then count as idle, and this one moves on alone. While
-- they are read it does nothing, because the smallest watermark holds.
CREATE TEMPORARY TABLE clock (
    tick   BIGINT,
    ticked AS CURRENT_ROW_TIMESTAMP(),
    WATERMARK FOR ticked AS ticked - $disorder
) WITH (
    'connector' = 'datagen',
    'rows-per-second' = '1',
    'scan.parallelism' = '1'
)
