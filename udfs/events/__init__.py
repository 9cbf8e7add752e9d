"""Events: bytes of a Kafka value to an event, or the reason why they are none."""
