"""Another version of this package for a deployment that runs: what it does to the state of the jobs."""
