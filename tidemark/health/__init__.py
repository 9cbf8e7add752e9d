"""Whether the pipeline itself is well: what is watched, alerts about it, and the report of `tidemark status`."""
