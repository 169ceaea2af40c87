"""WhatsApp ⇄ Matrix."""
