"""Live counters in Redis, as the job writes them."""
