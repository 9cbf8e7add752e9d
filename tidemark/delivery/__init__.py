"""What leaves: notifications to receivers, and automated responses to alerts."""
