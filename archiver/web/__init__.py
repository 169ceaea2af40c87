"""Pages for people, and their sign-in."""
