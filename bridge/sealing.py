"""What waits in the bridge's database is sealed: AES-256-GCM under a key in a file (promise 7)."""

from __future__ import annotations

import base64
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM


@dataclass(frozen=True, slots=True)
class Seal:
    """Seals and opens bytes, bound to what they are."""

    cipher: AESGCM = field(repr=False)

    @classmethod
    def load(cls, path: Path) -> Seal:
        """Read the key, or make one, for its owner only, where there is none. Raises OSError, ValueError."""
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(base64.b64encode(secrets.token_bytes(32)) + b"\n")
        return cls(AESGCM(base64.b64decode(path.read_bytes().strip(), validate=True)))

    def close(self, plain: bytes, context: str) -> bytes:
        nonce = os.urandom(12)
        return nonce + self.cipher.encrypt(nonce, plain, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Raises cryptography's InvalidTag when it was changed or belongs elsewhere."""
        return self.cipher.decrypt(sealed[:12], sealed[12:], context.encode())
