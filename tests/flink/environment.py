"""Table environments for tests; each is empty, and runs its jobs on a mini-cluster inside the client."""

from pyflink.table import EnvironmentSettings, TableEnvironment


def new_environment() -> TableEnvironment:
    """A table environment in streaming mode."""
    return TableEnvironment.create(EnvironmentSettings.in_streaming_mode())
