-- Takes the rows of a sink and forgets them.
CREATE TEMPORARY TABLE swallowed_$sink WITH ('connector' = 'blackhole') LIKE $sink (EXCLUDING ALL)
