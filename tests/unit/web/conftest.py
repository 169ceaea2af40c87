"""The browser and the office, for every test of pages."""

from tests.unit.web.browser import chromium, office

__all__ = ["chromium", "office"]
