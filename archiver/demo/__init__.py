"""The embedded stack and its sample people."""
