-- The filter is a view of its own: behind the window function it would be an expression over a processing-time window.
SELECT * FROM measurements WHERE $lane
