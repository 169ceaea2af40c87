"""Each test of the oversight begins without rounds and alarms."""

import pytest

from tests.unit.conftest import Archive


@pytest.fixture(autouse=True)
async def no_rounds(archive: Archive) -> None:
    async with archive.pool.acquire() as connection:
        await connection.execute("DELETE FROM canary_round; DELETE FROM alarm")
