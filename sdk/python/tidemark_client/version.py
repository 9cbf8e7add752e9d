"""Version of the SDK, as events carry it."""

__version__ = "0.1.0"
