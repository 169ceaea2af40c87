"""`griffier demo`, as a newcomer meets it."""

import json
import signal
from pathlib import Path

import pytest

from tests.conftest import RunningStack, running_stack

pytestmark = pytest.mark.stack


def processes_of(folder: Path) -> list[str]:
    """Command lines of running processes that name this data folder, or whose working files are in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if str(folder) in command:
                found.append(command)
    return found


async def status(stack: RunningStack) -> dict:
    return json.loads((await stack.griffier("status", "--json")).stdout)


async def test_stopping_leaves_no_process_and_a_restart_goes_on_where_it_was(folder):
    async with running_stack(folder) as first:
        assert (await status(first))["capturing"]
        device = (await status(first))["seats"][0]["device_id"]
        registered = await first.register("blijft")
        assert len([command for command in processes_of(folder) if " archive " in command]) == 1
    assert processes_of(folder) == []
    async with running_stack(folder) as again:
        assert (again.registration_shared_secret, again.admin_token) == (first.registration_shared_secret, first.admin_token)
        assert (await status(again))["seats"][0]["device_id"] == device
        assert registered[0].startswith("@blijft:")
        again.process.send_signal(signal.SIGINT)
        assert await again.process.wait() == 0
    assert processes_of(folder) == []


async def test_a_second_demo_on_the_same_folder_is_refused_and_harms_nothing(folder):
    async with running_stack(folder) as first:
        with pytest.raises(AssertionError, match="Another demo is running"):
            async with running_stack(folder):
                pass
        assert (await status(first))["capturing"]


async def test_no_file_with_a_secret_is_readable_by_others(folder):
    async with running_stack(folder) as stack:
        secrets = [value for value in json.loads((folder / "secrets.json").read_text()).values() if len(value) > 8]
        open_to_all = []
        for path in folder.rglob("*"):
            if path.is_file() and path.stat().st_mode & 0o077 and "postgres" not in path.relative_to(folder).parts:
                text = path.read_bytes()
                open_to_all += [str(path) for secret in secrets if secret.encode() in text]
        # This test's own notes hold the contract; the demo's files must not.
        assert [path for path in open_to_all if not path.endswith("demo.stderr")] == []
        assert stack.admin_token in secrets
