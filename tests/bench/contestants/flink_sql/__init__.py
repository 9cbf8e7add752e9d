"""Plain Flink SQL: the yardstick of `meter`, and a contestant."""
