"""What a notification says to each kind of receiver: pure mappings, signatures, and what an answer means."""
