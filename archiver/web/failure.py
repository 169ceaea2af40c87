"""What went wrong, for the log: its kind and its place. Not what it says: errors repeat what they were given."""

from __future__ import annotations

import traceback


def told(error: BaseException) -> str:
    """The type of an error and the innermost places in the code that it came through."""
    frames = traceback.extract_tb(error.__traceback__)[-5:]
    return "\n  ".join([type(error).__name__, *(f"{each.filename}:{each.lineno} {each.name}" for each in frames)])
