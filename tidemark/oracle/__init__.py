"""The oracle: usage recomputed in SQL from the raw topic, to be compared with what the jobs stored."""
