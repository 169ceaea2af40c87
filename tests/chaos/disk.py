"""A small disk that can be filled to the last byte: a tmpfs, where this machine lets us mount one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

STEP = 1 << 16


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A mounted disk."""

    path: Path

    def fill(self) -> None:
        """Leave not a byte."""
        with (self.path / "balloon").open("ab", buffering=0) as balloon:
            for size in (STEP, 1):
                try:
                    while balloon.write(b"\0" * size):
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        """As it was."""
        (self.path / "balloon").unlink(missing_ok=True)


@contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[SmallDisk | None]:
    """A disk of so many megabytes at `path`; None, and why is printed, where this machine does not let us mount one."""
    path.mkdir(mode=0o755)
    refused = "only root may" if os.getuid() else mount(path, megabytes)
    if refused:
        print(f"No disk is filled: a tmpfs can't be mounted here ({refused}).")
        yield None
        return
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def mount(path: Path, megabytes: int) -> str:
    """Mount a tmpfs; returns why that was refused, nothing when it was not."""
    options = f"size={megabytes}m,mode=755"
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "griffier-chaos", path], capture_output=True, text=True, check=False
    )
    return done.stderr.strip() if done.returncode else ""
