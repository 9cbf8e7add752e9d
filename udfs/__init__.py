"""What a Python worker of Flink loads: two thin adapters, and the pure domain they call."""
