"""Recording usage: events from the call to the acknowledgement of the server, over a spool on disk."""
