"""The examples in docs/api.md work as they stand there."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from archiver.ledger.files import FileStore
from tests.unit.web.api.conftest import token_of
from tests.unit.web.signed_in import served
from tests.unit.web.test_files import CONTENT, keep

pytestmark = pytest.mark.postgres
DOC = Path(__file__).parents[4] / "docs" / "api.md"


async def test_every_example_for_developers_works(archive, room, tmp_path):
    _, file = await keep(archive, room, FileStore(tmp_path), "clean")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", DOC.read_text(), re.DOTALL) for line in block.strip().splitlines()]
    assert sum(line.startswith("curl") for line in lines) >= 8
    async with served(archive, tmp_path) as client:
        values = {
            "GRIFFIER": str(client.make_url("/api/v1")), "TOKEN": await token_of(archive, "records-officer"), "ROOM_ID": room,
            "ROOM": quote(room, safe=""), "EVENT": file.partition("?")[0].rpartition("/")[2],
        }  # fmt: skip
        script = "set -eu\n"
        for line in lines:
            if line.startswith("export"):
                script += "".join(f"{name}={value!r}\n" for name, value in values.items())
            else:
                script += line + "\n" + ("echo\n" if line.startswith("curl") else "")
        process = await asyncio.create_subprocess_exec(
            "bash", "-c", script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=tmp_path
        )
        out, err = await process.communicate()
    assert process.returncode == 0, (err, out)
    told = [json.loads(line) for line in out.decode().splitlines() if line]
    assert len(told) == sum(line.startswith("curl") for line in lines) - 1
    assert (tmp_path / "bestand").read_bytes() == CONTENT
