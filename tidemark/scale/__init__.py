"""Parallelism of running jobs: what to change it to, and the change itself."""
