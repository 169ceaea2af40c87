"""Parts of the demo: started, started again when they die, stopped together without leaving anything."""

import asyncio
import os
import signal
import socket
import sys
import time

import pytest

from archiver.demo.ports import DemoError, Ports
from archiver.demo.supervisor import Part, Supervisor

STAY = "import time\nprint('klaar', flush=True)\ntime.sleep(60)"
STUBBORN = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('klaar', flush=True)\ntime.sleep(60)"
PARENT = """
import subprocess, sys, time
subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])
print('klaar', flush=True)
time.sleep(60)
"""
# As Postgres's children: in a session of their own, and here deaf to all but SIGKILL.
ALOOF = """
import subprocess, sys, time
code = 'import signal, time; [signal.signal(n, signal.SIG_IGN) for n in (2, 15)]; time.sleep(60)'
print(subprocess.Popen([sys.executable, '-c', code], start_new_session=True).pid, 'klaar', flush=True)
time.sleep(60)
"""


def part(tmp_path, code: str, name="deel") -> Part:
    log = tmp_path / f"{name}.log"

    async def ready() -> bool:
        return log.exists() and "klaar" in log.read_text()

    return Part(name, [sys.executable, "-c", code], ready, log, patience=20)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_a_part_that_dies_is_named_with_its_reason_and_log_and_started_again(tmp_path):
    said: list[str] = []
    supervisor = Supervisor(said.append)
    one = part(tmp_path, STAY)
    await supervisor.start(one)
    first = one.process.pid
    os.kill(first, signal.SIGKILL)
    for _ in range(100):
        if one.process.pid != first and any("weer gereed" in line for line in said):
            break
        await asyncio.sleep(0.05)
    assert one.process.pid != first
    assert any("deel stopped (signal SIGKILL)" in line and str(one.log) in line for line in said)
    await supervisor.stop()
    assert not alive(one.process.pid)
    assert any("weer gereed" in line for line in said)


async def test_stopping_leaves_no_process_within_ten_seconds_not_even_a_stubborn_one(tmp_path):
    supervisor = Supervisor(lambda _: None)
    codes = {"koppig": STUBBORN, "eerste": STAY, "tweede koppig": STUBBORN, "ouder": PARENT, "afstandelijk": ALOOF}
    parts = [part(tmp_path, code, name) for name, code in codes.items()]
    for one in parts:
        await supervisor.start(one)
    began = time.monotonic()
    await supervisor.stop()
    assert time.monotonic() - began < 10
    for one in parts:
        with pytest.raises(ProcessLookupError):
            os.killpg(one.process.pid, 0)
    assert not alive(int(parts[-1].log.read_text().split()[0]))


async def test_a_part_that_cannot_start_shows_the_end_of_its_log(tmp_path):
    with pytest.raises(DemoError, match=r"(?s)exit code 3.*te weinig geheugen"):
        await Supervisor(lambda _: None).start(part(tmp_path, "print('te weinig geheugen'); raise SystemExit(3)"))


def test_a_taken_port_is_named_with_what_to_do():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(DemoError, match="--port-base"):
            Ports(taken.getsockname()[1]).require_free()
