"""Calendars: the period and local day of an instant."""
