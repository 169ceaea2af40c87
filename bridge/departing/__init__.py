"""From Matrix to WhatsApp."""
