"""From WhatsApp into Matrix."""
