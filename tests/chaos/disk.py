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
    """A disk, and whether it is one of its own that may be filled."""

    path: Path
    fillable: bool

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
def small_disk(path: Path, megabytes: int) -> Iterator[SmallDisk]:
    """A disk of so many megabytes at `path`; an ordinary folder, and why is printed, where this machine lets us mount none."""
    path.mkdir(mode=0o755)
    options = f"size={megabytes}m,mode=755"
    with as_root(path, options) if os.getuid() == 0 else in_a_namespace(path, options) as (reached, refused):
        if refused:
            print(f"The disk of the {path.name} is not filled: a tmpfs can't be mounted here ({refused}).")
        yield SmallDisk(reached, fillable=not refused)


@contextmanager
def as_root(path: Path, options: str) -> Iterator[tuple[Path, str]]:
    """Mounted for everybody; yields where it is reached, and why it is not mounted if it is not."""
    mount = ["mount", "-t", "tmpfs", "-o", options, "griffier-chaos", str(path)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    try:
        yield path, done.stderr.strip() if done.returncode else ""
    finally:
        if done.returncode == 0:
            subprocess.run(["umount", "--lazy", path], check=True)


@contextmanager
def in_a_namespace(path: Path, options: str) -> Iterator[tuple[Path, str]]:
    """Mounted in a namespace of a process of our own, as an ordinary user may, and reached through that process by all others."""
    script = 'mount -t tmpfs -o "$1" griffier-chaos "$2" && echo mounted && exec sleep 3600'
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", options, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stderr is not None
        mounted = holder.stdout.readline().strip() == "mounted"
        reached = Path(f"/proc/{holder.pid}/root{path}") if mounted else path
        try:
            yield reached, "" if mounted else holder.stderr.read().strip()
        finally:
            holder.terminate()
