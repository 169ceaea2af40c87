"""The durable inbox and outbox, and how they are worked through."""
