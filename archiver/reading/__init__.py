"""The current view of rooms and messages; search."""
