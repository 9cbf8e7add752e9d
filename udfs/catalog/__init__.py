"""The catalog as workers use it: who sends, what is measured, on which calendar, at an event time."""
