"""The HTTP API, role `api` of `tidemark serve`: events in, acknowledged by the brokers; usage out, for one tenant."""
