"""Any bytes at every reader of a topic or of a file from outside: never an exception but the one that is counted."""
