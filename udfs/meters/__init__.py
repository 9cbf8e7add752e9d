"""Meters: what one event adds to which series, and how the parts of an aggregation come together."""
