-- Closed minutes: the slices that all sliding windows are added up from, so that an event is read and kept once however many
-- windows hold it. What is later than the watermark bound is dropped here and only here: all windows hold the same events.
SELECT $keys, window_time AS closed_at, SUM(n) AS n, SUM(total) AS total
FROM TABLE(TUMBLE(TABLE recent_deltas, DESCRIPTOR(`minute`), INTERVAL '1' MINUTE))
GROUP BY $keys, window_start, window_end, window_time
