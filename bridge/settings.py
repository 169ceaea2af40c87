"""The one place where the bridge's settings are read: the section `bridge` of a YAML file, or GRIFFIER_BRIDGE__NAME."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

SECRETS = (
    "as_token",
    "hs_token",
    "database_url",
    "access_token",
    "app_secret",
    "verify_token",
    "provisioning_token",
    "linked_token",
)


class SettingsError(Exception):
    """The settings can't be used; the message names the setting and what to do."""


class Number(BaseModel):
    """A WhatsApp business number and the official whose it is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    display_phone_number: str
    official: str
    account: str = ""  # the WhatsApp business account (WABA) that it belongs to
    messages_per_second: int = 0  # 0: bridge.messages_per_second


class Bridge(BaseModel):
    """The section `bridge`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    homeserver_url: str = ""
    server_name: str = ""
    listen_host: str = "127.0.0.1"
    listen_port: int = 29318
    appservice_url: str = ""
    appservice_id: str = "griffier-whatsapp"
    as_token: SecretStr = SecretStr("")
    hs_token: SecretStr = SecretStr("")
    bot_localpart: str = "whatsappbot"
    ghost_template: str = "whatsapp_{user}"
    database_url: SecretStr = SecretStr("")
    key_file: Path = Path("bridge.key")
    graph_url: str = "https://graph.facebook.com"
    graph_version: str = "v25.0"
    waba_id: str = ""
    access_token: SecretStr = SecretStr("")
    app_secret: SecretStr = SecretStr("")
    verify_token: SecretStr = SecretStr("")
    webhook_host: str = "127.0.0.1"
    webhook_port: int = 29319
    webhook_path: str = "/webhook"
    webhook_url: str = ""
    webhook_allow: tuple[IPvAnyNetwork, ...] = ()
    trusted_proxies: tuple[IPvAnyNetwork, ...] = ()
    webhook_timeout: float = Field(20.0, gt=0)
    webhook_tls_certificate: str = ""
    webhook_tls_key: str = ""
    webhook_tls_client_ca: str = ""
    replay_days: float = Field(8.0, ge=0)
    encryption: bool = True
    send_read_receipts: bool = True
    messages_per_second: int = Field(default=80, ge=1)
    double_puppet: bool = False
    media_max_bytes: int = 100_000_000
    conversations_at_once: int = Field(default=8, ge=1, le=100)
    wait_for_status_seconds: float = Field(default=30.0, ge=0)
    overlooked_seconds: float = Field(default=60.0, ge=1)
    keep_done_days: int = Field(default=30, ge=0)
    keep_failed_days: int = Field(default=180, ge=1)
    numbers: tuple[Number, ...] = ()
    admins: tuple[str, ...] = ()
    probe_every: float = Field(120.0, gt=0)
    silent_after: float = Field(300.0, gt=0)
    provisioning_host: str = "127.0.0.1"
    provisioning_port: int = 29320
    provisioning_token: SecretStr = SecretStr("")
    provisioning_url: str = ""
    linked_token: SecretStr = SecretStr("")

    @model_validator(mode="before")
    @classmethod
    def read_secret_files(cls, values: Any) -> Any:
        """Read `NAME_file` into NAME."""
        if isinstance(values, dict):
            for name in SECRETS:
                path = values.pop(f"{name}_file", None)
                if path:
                    try:
                        values[name] = Path(path).read_text().strip()
                    except OSError as error:
                        raise ValueError(f"{name}_file: {error.strerror}: {path}") from error
        return values

    @model_validator(mode="after")
    def tls_is_whole(self) -> Self:
        """A certificate needs its key; asking callers for one needs ours."""
        if bool(self.webhook_tls_certificate) != bool(self.webhook_tls_key):
            raise ValueError("webhook_tls_certificate and webhook_tls_key go together")
        if self.webhook_tls_client_ca and not self.webhook_tls_certificate:
            raise ValueError("webhook_tls_client_ca needs webhook_tls_certificate and webhook_tls_key")
        return self

    @property
    def bot(self) -> str:
        """The bridge bot's Matrix account."""
        return f"@{self.bot_localpart}:{self.server_name}"

    def ghost(self, user: str) -> str:
        """The Matrix account that stands for somebody on WhatsApp."""
        return f"@{self.ghost_template.format(user=user)}:{self.server_name}"

    def _puppets(self) -> list[str]:
        """The officials as whom the bridge may say what they typed on their phone."""
        return sorted({number.official for number in self.numbers}) if self.double_puppet else []

    def registration(self) -> dict[str, Any]:
        """What Synapse must know of us, as an application service registration."""
        ghosts = re.escape(self.ghost_template).replace(re.escape("{user}"), ".+")
        server = re.escape(self.server_name)
        return {
            "id": self.appservice_id,
            "url": self.appservice_url or f"http://{self.listen_host}:{self.listen_port}",
            "as_token": self.as_token.get_secret_value(),
            "hs_token": self.hs_token.get_secret_value(),
            "sender_localpart": self.bot_localpart,
            "rate_limited": False,
            "namespaces": {
                "users": [
                    {"exclusive": True, "regex": f"@{ghosts}:{server}"},
                    {"exclusive": True, "regex": re.escape(self.bot)},
                    *({"exclusive": False, "regex": re.escape(user)} for user in self._puppets()),
                ],
                "aliases": [],
                "rooms": [],
            },
            # Room keys, device lists and key counts come with the transactions (MSC2409, MSC3202).
            "receive_ephemeral": True,
            "de.sorunome.msc2409.push_ephemeral": True,
            "org.matrix.msc3202": True,
            # Devices without passwords (MSC4190): how every account of ours gets a device that can be cross-signed.
            "io.element.msc4190": True,
        }


class Settings(BaseSettings):
    """The whole file; other sections belong to others."""

    model_config = SettingsConfigDict(env_prefix="GRIFFIER_", env_nested_delimiter="__", extra="ignore", frozen=True)

    bridge: Bridge = Bridge()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        yaml = YamlConfigSettingsSource(settings_cls, yaml_file=os.environ.get("GRIFFIER_CONFIG"))
        return init_settings, env_settings, yaml

    @classmethod
    def load(cls, config: Path) -> Self:
        """Read the settings; raises SettingsError when a value can't be used."""
        if not config.is_file():
            raise SettingsError(f"There is no configuration file at {config}. Give --config another path.")
        os.environ["GRIFFIER_CONFIG"] = str(config)
        try:
            return cls()
        except ValidationError as error:
            lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
            raise SettingsError("These settings can't be used:\n" + "\n".join(lines)) from None
