"""The archiver is killed while messages keep coming: nothing is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
from pathlib import Path

import pytest

from tests.conftest import RunningStack
from tests.interop.client import Official
from tests.interop.test_strict_client import until

pytestmark = [pytest.mark.stack, pytest.mark.interop]


def archivers(stack: RunningStack) -> list[int]:
    """The archiver's processes: those whose command line has the word `archive`, of this stack (DESIGN section 7)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"archive" in command and any(stack.data_dir.encode() in part for part in command):
                found.append(int(entry.name))
    return found


async def test_kill_9_between_receiving_and_committing_loses_and_doubles_nothing(stack: RunningStack, tmp_path: Path) -> None:
    user_id, password = await stack.register(f"volhouder-{secrets.token_hex(3)}")
    async with Official(stack.homeserver, user_id, password) as official:
        room = (await official.do("create_room", name="Volhouden"))["room"]
        texts = [f"bericht {number} {secrets.token_hex(4)}" for number in range(150)]
        sending = asyncio.create_task(official.do("send_many", room=room, bodies=texts, gap_ms=40, timeout=120))
        killed = 0
        for _ in range(4):
            await asyncio.sleep(random.uniform(0.3, 1.8))
            for pid in archivers(stack):
                os.kill(pid, signal.SIGKILL)
                killed += 1
        assert killed >= 2
        ids = (await sending)["event_ids"]
        lines = await until(stack, room, tmp_path, set(texts), seconds=60)
        said = [line for line in lines if line["kind"] != "notice"]
        assert sorted(line["event_id"] for line in said) == sorted(ids)
        assert sorted(line["body"] for line in said) == sorted(texts)


async def test_a_message_deleted_before_it_could_be_archived_is_reported_with_who_and_when(
    stack: RunningStack, tmp_path: Path
) -> None:
    user_id, password = await stack.register(f"haastig-{secrets.token_hex(3)}")
    async with Official(stack.homeserver, user_id, password) as official:
        room = (await official.do("create_room", name="Te laat"))["room"]
        await official.do("send", room=room, body="ervoor")
        await until(stack, room, tmp_path, {"ervoor"})
        asleep = archivers(stack)
        assert asleep
        for pid in asleep:
            os.kill(pid, signal.SIGSTOP)
        try:
            # The request that waits at the server is answered with this; the next one finds the message deleted already.
            await official.do("send", room=room, body="wekt het wachtende verzoek")
            await asyncio.sleep(1)
            doomed = (await official.do("send", room=room, body="dit ziet niemand meer"))["event_id"]
            await official.do("redact", room=room, event_id=doomed, reason="spijt")
            await official.do("send", room=room, body="erna")
        finally:
            for pid in asleep:
                os.kill(pid, signal.SIGCONT)
        lines = {line["event_id"]: line for line in await until(stack, room, tmp_path, {"ervoor", "erna"})}
        gone = lines[doomed]
        assert gone["deleted_before_capture"]
        assert gone["body"] == ""
        assert gone["checks"]["id"]
        assert gone["checks"]["signed_by"] == [stack.server_name]
        assert (gone["deleted"]["by"], gone["deleted"]["reason"]) == (user_id, "spijt")
