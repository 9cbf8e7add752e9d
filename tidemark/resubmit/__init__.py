"""The role `resubmit`: jobs that a JobManager without a standby has forgotten are submitted again."""
