"""The bridge's database of the unit tests, for tests that kill what uses it."""

from tests.unit.conftest import bridge_url, postgres_folder, postgres_url

__all__ = ["bridge_url", "postgres_folder", "postgres_url"]
