"""The archive of the unit tests, for hostile input."""

from tests.unit.conftest import archive, postgres_folder, postgres_url, room

__all__ = ["archive", "postgres_folder", "postgres_url", "room"]
