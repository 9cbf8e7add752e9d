"""Replays: rebuild usage as a second version, compare it, promote it, revert it."""
