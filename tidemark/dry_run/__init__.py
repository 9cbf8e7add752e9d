"""The model without an engine: what the jobs would store, and what each bucket is worth."""
