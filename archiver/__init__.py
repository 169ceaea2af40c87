"""Griffier archive: what was said, that nothing is missing, that nothing was changed."""
