"""What runs for ever beside the jobs: roles of one process, each made of the services of a capability."""
