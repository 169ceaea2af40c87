"""The ports of a demo: a base, and a fixed place for each part after it."""

from __future__ import annotations

import socket
from dataclasses import dataclass

DEFAULT_BASE = 18080


class DemoError(Exception):
    """The demo can't start or go on; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where each part listens, on 127.0.0.1."""

    base: int

    @property
    def web(self) -> int:
        return self.base

    @property
    def homeserver(self) -> int:
        return self.base + 1

    @property
    def postgres(self) -> int:
        return self.base + 2

    @property
    def webhook(self) -> int:
        return self.base + 3

    @property
    def appservice(self) -> int:
        return self.base + 4

    @property
    def simulator(self) -> int:
        return self.base + 5

    @property
    def provisioning(self) -> int:
        return self.base + 6

    @property
    def identity(self) -> int:
        return self.base + 7

    def require_free(self) -> None:
        """Raise DemoError naming the first port that is taken."""
        if not 1024 <= self.base <= 65535 - 8:
            raise DemoError(f"--port-base {self.base} can't be used: give a number from 1024 to {65535 - 8}.")
        for port in range(self.base, self.base + 8):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    raise DemoError(
                        f"Port {port} is in use. Stop what uses it, or start with another --port-base (now {self.base})."
                    ) from None
