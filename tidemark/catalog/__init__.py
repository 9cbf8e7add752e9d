"""The catalog tool: a YAML file checked, planned as versions in event time, and applied."""
