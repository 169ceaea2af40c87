"""What the interop tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.conftest import RunningStack
from tests.interop.client import Official


@pytest.fixture(scope="session")
async def minister(stack: RunningStack) -> AsyncIterator[Official]:
    """The official whose business number is bridged: one device for every test, as a person has."""
    async with Official(stack.homeserver, "minister", stack.secret("password_minister")) as client:
        yield client
