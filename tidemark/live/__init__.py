"""Live values in Redis: counters and limits kept in step with Postgres, leaderboard, active version, usage."""
