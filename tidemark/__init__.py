"""What runs beside the jobs: one folder per capability, `core` below all of them, `cli` above."""
