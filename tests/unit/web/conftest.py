"""The browser and the office, and names that no other test uses, for every test of pages."""

import secrets

import pytest

from tests.unit.web.browser import chromium, office

__all__ = ["chromium", "office"]


@pytest.fixture
def word() -> str:
    """A word that occurs nowhere else."""
    return "w" + secrets.token_hex(5)


@pytest.fixture
def me() -> str:
    """The account of an official who is in no other conversation."""
    return f"@m{secrets.token_hex(4)}:x"
