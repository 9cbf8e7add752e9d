"""The model of the jobs without an engine: what they would store, and the value of each bucket."""
