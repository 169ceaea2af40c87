"""Conversations and their rooms."""
