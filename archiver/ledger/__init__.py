"""What is stored, and why it can be trusted."""
