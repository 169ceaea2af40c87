"""A wall clock that jumps, for the processes that are started under it: libfaketime, where it is installed."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from pathlib import Path

PLACES = [
    f"/usr/lib/{platform.machine()}-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
]


@dataclass(frozen=True, slots=True)
class Clock:
    """What a process sees as the time of day; how much time passes stays true, as it does on a machine whose clock is set."""

    file: Path
    library: str

    @property
    def env(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": self.library,
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """So many seconds before or after the true time, from now on, for every process under this clock."""
        partial = self.file.with_suffix(".partial")
        partial.write_text(f"{seconds:+d}\n")
        partial.replace(self.file)


def clock(folder: Path) -> Clock | None:
    """A clock that is right as yet; None, and why is printed, where libfaketime is not installed."""
    library = next((place for place in PLACES if Path(place).exists()), None)
    if library is None:
        print("No clock is jumped: libfaketime is not installed (Debian: faketime).")
        return None
    made = Clock(folder / "clock", library)
    made.set(0)
    return made
