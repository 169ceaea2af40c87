"""The one place where the archiver's settings are read.

Order, last one wins: the defaults below, the YAML file (`--config` or GRIFFIER_CONFIG), environment variables
GRIFFIER_SECTION__NAME. A secret may also be given as NAME_file: the path of a file that holds only the secret.
`config/griffier.yaml` explains every setting.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource
from yaml import YAMLError

from archiver.homeserver.scope import Scope


class SettingsError(Exception):
    """The settings can't be used; the message names the setting and what to do."""


class Section(BaseModel):
    """A section of the settings: unknown names are refused, `NAME_file` is read into NAME."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def read_secret_files(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        for name in cls.model_fields:
            path = values.pop(f"{name}_file", None)
            if path:
                try:
                    values[name] = Path(path).read_text().strip()
                except OSError as error:
                    raise ValueError(f"{name}_file: {error.strerror}: {path}") from error
        return values


class Database(Section):
    url: SecretStr = SecretStr("")
    pool_size: int = Field(default=8, ge=2, le=200)


class Organisation(Section):
    id: int = Field(default=1, ge=1)
    name: str = "Ministerie"
    language: str = Field(default="nl", pattern="^(nl|en)$")


class Homeserver(Section):
    url: str = ""
    server_name: str = ""
    timeout: float = Field(default=60, gt=0, description="seconds a request may take, beside the sync's own wait")
    admin_token: SecretStr = SecretStr("")


class Archiver(Section):
    user_id: str = ""
    password: SecretStr = SecretStr("")
    access_token: SecretStr = SecretStr("")
    as_token: SecretStr = SecretStr("")
    device_name: str = "Griffier archief"
    together_with: tuple[str, ...] = Field(default=(), description="the other archivers that share this homeserver's rooms")
    scope: Scope = Field(default=Scope(), description="whose rooms, and which kinds of rooms")
    bridges: tuple[str, ...] = Field(default=(), description="accounts whose word on where a message comes from is believed")
    sync_wait: float = Field(default=30, gt=0, le=45, description="seconds the server may hold a sync open")
    timeline_limit: int = Field(default=100, ge=10, le=1000)
    history_pause: float = Field(default=0, ge=0, le=60, description="seconds between two pages of history")
    megolm_cache: int = Field(default=5000, ge=10, description="Megolm sessions held in memory")
    read_receipts: bool = Field(default=False, description="keep who had read up to which message, and when")
    key_backup: bool = Field(default=False, description="keep an encrypted copy of the room keys on the homeserver")
    media_max_bytes: int = Field(default=200_000_000, ge=0)
    scan_command: tuple[str, ...] = Field(default=(), description="the virus scanner: a program and its arguments")
    scan_timeout: float = Field(default=60, gt=0, description="seconds the scanner may take for one file")


RoleName = Literal["official", "records-officer", "advisor", "admin", "inspector", "auditor"]


class Oidc(Section):
    issuer: str = ""
    client_id: str = ""
    client_secret: SecretStr = SecretStr("")
    scopes: str = Field(default="openid profile", pattern=r"(^|\s)openid(\s|$)")
    public_url: str = Field(default="", description="the address at which people reach the web application")
    person_claim: str = Field(default="sub", description="what the audit trail and the roles call somebody")
    name_claim: str = "name"
    roles_claim: str = Field(default="", description="where the roles are, as a dotted path")
    roles: dict[str, RoleName] = Field(default_factory=dict, description="a value of that claim, and the role it stands for")
    organisation_claim: str = Field(default="", description="must hold the organisation's id or name, if set")
    user_claim: str = Field(default="", description="an official's Matrix id, or its local part")
    max_age: int = Field(default=0, ge=0, description="seconds since somebody last proved who they are; 0: any")
    acr_values: tuple[str, ...] = Field(default=(), description="levels of assurance, one of which is required")


class BridgeApi(Section):
    url: str = Field(default="", pattern=r"^(https?://\S+)?$", description="of the bridge's provisioning API")
    token: SecretStr = SecretStr("")


def plain_pattern(pattern: str) -> bool:
    """Whether a pattern of case numbers can be used. No regular expression: an admin reads it, and it can't be made slow."""
    return len(pattern) <= 64 and pattern.isprintable() and "*" not in pattern[:-1]


class Purposes(Section):
    required: bool = True
    choices: tuple[str, ...] = Field(
        default=("Woo-verzoek", "Kamervraag of parlementair onderzoek", "Rechtszaak of klacht", "Archiefbeheer", "Toezicht"),
        description="what a reader chooses from",
    )
    free_text: bool = Field(default=True, description="whether another purpose may be written")
    case_number: Literal["no", "optional", "required"] = "optional"
    case_pattern: str = Field(default="", description="what a case number looks like: # is a digit, @ a letter, ? anything")
    minutes: float = Field(default=60, ge=1, le=1440, description="for which a purpose holds")

    @field_validator("case_pattern")
    @classmethod
    def is_a_pattern(cls, value: str) -> str:
        if not plain_pattern(value):
            raise ValueError("write # for a digit, @ for a letter, ? for anything, and * only at the end; 64 characters at most")
        return value


class Jobs(Section):
    keep: float = Field(default=168, gt=0, le=8760, description="hours for which a result can be downloaded")
    per_person: int = Field(default=3, ge=1, le=100, description="jobs that one person may have waiting or running")


class Web(Section):
    host: str = "127.0.0.1"
    port: int = Field(default=8080, ge=0, le=65535)
    oidc: Oidc = Oidc()
    session_idle: float = Field(default=30, gt=0, le=1440, description="minutes without a request after which a session ends")
    session_max: float = Field(default=480, gt=0, le=1440, description="minutes after which a session ends in any case")
    sign_in_limit: int = Field(default=30, ge=1, description="sign-ins a minute from one address")
    api_limit: int = Field(default=300, ge=1, description="requests a minute to the API with one token")
    token_claims: float = Field(default=30, gt=0, le=366, description="days for which a token has the roles of the last sign-in")
    proxies: tuple[str, ...] = Field(default=(), description="addresses whose X-Forwarded-For is believed")
    theme: Path | None = Field(default=None, description="a style sheet with the organisation's own design tokens")
    bridge: BridgeApi = BridgeApi()
    purpose: Purposes = Purposes()
    jobs: Jobs = Jobs()


class Canary(Section):
    every: float = Field(default=0, ge=0, le=1440, description="minutes from one round to the next; 0 is off")
    limit: float = Field(default=60, gt=0, le=3600, description="seconds in which all of a round must be in the archive")
    sender: str = ""
    sender_password: SecretStr = SecretStr("")
    receiver: str = ""
    receiver_password: SecretStr = SecretStr("")


class Settings(BaseSettings):
    """Everything the archiver, the web application and the command line may be told."""

    model_config = SettingsConfigDict(env_prefix="GRIFFIER_", env_nested_delimiter="__", extra="ignore", frozen=True)

    data_dir: Path = Path("data")
    keys_dir: Path | None = None
    files_dir: Path | None = None
    organisation: Organisation = Organisation()
    database: Database = Database()
    homeserver: Homeserver = Homeserver()
    archiver: Archiver = Archiver()
    web: Web = Web()
    canary: Canary = Canary()

    @property
    def keys(self) -> Path:
        """The folder of the organisation's key file."""
        return self.keys_dir or self.data_dir / "keys"

    @property
    def files(self) -> Path:
        """The folder of sealed media."""
        return self.files_dir or self.data_dir / "files"

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
    def load(cls, config: Path | None = None, **overrides: Any) -> Self:
        """Read the settings; raises SettingsError when a value can't be used."""
        if config is not None:
            if not config.is_file():
                raise SettingsError(f"There is no configuration file at {config}. Give --config another path.")
            os.environ["GRIFFIER_CONFIG"] = str(config)
        try:
            return cls(**overrides)
        except YAMLError as error:
            raise SettingsError(f"The configuration file can't be read as YAML: {error}") from None
        except ValidationError as error:
            lines = [f"  {'.'.join(map(str, e['loc'])) or 'settings'}: {e['msg']}" for e in error.errors()]
            raise SettingsError("These settings can't be used:\n" + "\n".join(lines)) from None
