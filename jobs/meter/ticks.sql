-- Two lanes after one dedupe: events of a backlog are added up over longer ticks, into fewer deltas. Python says which an
-- event is in (udfs.decode.backlog): asked here, the clock would be read for each lane, and an event be in both or in none.
SELECT *, FALSE AS backlog FROM live_ticks
UNION ALL
SELECT *, TRUE AS backlog FROM backlog_ticks
