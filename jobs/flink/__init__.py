"""How a job is configured, compiled, submitted and restored."""
