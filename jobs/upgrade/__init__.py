"""Whether the state of a job fits the plan that this version makes of it."""
