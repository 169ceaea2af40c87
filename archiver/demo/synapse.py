"""Synapse from PyPI on the embedded Postgres, with the guard, and with rate limits that suit a demo."""

from __future__ import annotations

import hashlib
import hmac
import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import aiohttp
import yaml

from archiver.demo.ports import DemoError

UNLIMITED = {"per_second": 100_000, "burst_count": 100_000}


def write_config(
    folder: Path,
    *,
    port: int,
    server_name: str,
    archiver: str,
    bridges: list[str],
    database: str,
    secrets: dict[str, str],
    registration: Path,
) -> Path:
    """Write homeserver.yaml and its log configuration, readable by us only; return its path."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    place = urlsplit(database)
    config: dict[str, Any] = {
        "server_name": server_name,
        "public_baseurl": f"http://127.0.0.1:{port}/",
        "pid_file": str(folder / "homeserver.pid"),
        "listeners": [
            {
                "port": port, "tls": False, "type": "http", "bind_addresses": ["127.0.0.1"], "x_forwarded": False,
                "resources": [{"names": ["client", "keys", "media"], "compress": False}],
            }
        ],
        "database": {
            "name": "psycopg2",
            "args": {
                **{name: unquote(value) for name, value in (("user", place.username), ("password", place.password)) if value},
                "host": place.hostname, "port": place.port, "database": unquote(place.path.lstrip("/")),
                "cp_min": 2, "cp_max": 8, **dict(parse_qsl(place.query)),
            },
        },
        "log_config": str(folder / "log.yaml"),
        "media_store_path": str(folder / "media"),
        "signing_key_path": str(folder / "signing.key"),
        "registration_shared_secret": secrets["registration_shared_secret"],
        "macaroon_secret_key": secrets["macaroon_secret_key"],
        "form_secret": secrets["form_secret"],
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "report_stats": False,
        "enable_registration": False,
        "federation_domain_whitelist": [],
        # The ghosts' profiles and ids are people's names and numbers: for whoever shares a room with them.
        "require_auth_for_profile_requests": True,
        "limit_profile_requests_to_users_who_share_rooms": True,
        "allow_profile_lookup_over_federation": False,
        "max_upload_size": "100M",
        # What is redacted stays in Synapse's own database too until the archive has it; 7 days is Synapse's default.
        "redaction_retention_period": "7d",
        "app_service_config_files": [str(registration)],
        "experimental_features": {
            "msc2409_to_device_messages_enabled": True,
            "msc3202_device_masquerading": True,
            "msc3202_transaction_extensions": True,
        },
        "modules": [{"module": "archiver.homeserver.guard.Guard", "config": {"archiver": archiver, "bridges": bridges}}],
        "rc_message": UNLIMITED, "rc_registration": UNLIMITED, "rc_admin_redaction": UNLIMITED, "rc_key_requests": UNLIMITED,
        "rc_login": {"address": UNLIMITED, "account": UNLIMITED, "failed_attempts": UNLIMITED},
        "rc_joins": {"local": UNLIMITED, "remote": UNLIMITED}, "rc_joins_per_room": UNLIMITED,
        "rc_invites": {"per_room": UNLIMITED, "per_user": UNLIMITED, "per_issuer": UNLIMITED},
        "rc_room_creation": UNLIMITED, "rc_media_create": UNLIMITED, "rc_presence": {"per_user": UNLIMITED},
        "rc_delayed_event_mgmt": UNLIMITED, "rc_user_directory": UNLIMITED,
        "presence": {"enabled": False},
    }  # fmt: skip
    logging = {
        "version": 1,
        "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "plain"}},
        "root": {"level": "WARNING", "handlers": ["stderr"]},
        "disable_existing_loggers": False,
    }
    for name, content in (("homeserver.yaml", config), ("log.yaml", logging)):
        write_private(folder / name, yaml.safe_dump(content, sort_keys=False))
    return folder / "homeserver.yaml"


def write_private(path: Path, text: str) -> None:
    """Write a file that may hold secrets: readable by its owner only, from its first byte."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)


def command(config: Path) -> list[str]:
    """What runs Synapse; with `--generate-keys` after it, what makes its signing key."""
    return [sys.executable, "-m", "synapse.app.homeserver", "-c", str(config)]


async def register(url: str, shared_secret: str, localpart: str, password: str, *, admin: bool = False, name: str = "") -> None:
    """Make an account through Synapse's shared-secret registration, if there is none yet. Raises DemoError."""
    where = f"{url}/_synapse/admin/v1/register"
    async with aiohttp.ClientSession() as http:
        async with http.get(where) as response:
            nonce = (await response.json())["nonce"]
        text = "\0".join([nonce, localpart, password, "admin" if admin else "notadmin"])
        mac = hmac.new(shared_secret.encode(), text.encode(), hashlib.sha1).hexdigest()
        body = {
            "nonce": nonce,
            "username": localpart,
            "password": password,
            "admin": admin,
            "mac": mac,
            "displayname": name or localpart,
        }
        async with http.post(where, json=body) as response:
            answer = await response.json()
            if response.status != 200 and answer.get("errcode") != "M_USER_IN_USE":
                raise DemoError(f"Synapse refused to make the account {localpart}: {answer.get('error')}")


async def log_in(url: str, localpart: str, password: str, device: str) -> str:
    """Sign in and return the access token. Raises DemoError."""
    body = {
        "type": "m.login.password",
        "identifier": {"type": "m.id.user", "user": localpart},
        "password": password,
        "device_id": device,
        "initial_device_display_name": "Griffier demo",
    }
    async with aiohttp.ClientSession() as http, http.post(f"{url}/_matrix/client/v3/login", json=body) as response:
        answer = await response.json()
        if response.status != 200:
            raise DemoError(f"{localpart} can't sign in to Synapse: {answer.get('error')}")
        return str(answer["access_token"])
