"""What runs inside the homeserver."""
