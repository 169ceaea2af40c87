"""The compose file is one, its services are hardened, and what they start is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from archiver.settings import Settings
from bridge.settings import Settings as BridgeSettings

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == "griffier:local"}
MAUTRIX = yaml.safe_load((ROOT / "config/mautrix-whatsapp/config.yaml").read_text())
REGISTRATION = yaml.safe_load((ROOT / "config/mautrix-whatsapp/registration.yaml").read_text())


def test_it_is_a_compose_file():
    schema = json.loads((Path(__file__).parent / "compose-spec.json").read_text())
    jsonschema.Draft7Validator(schema).validate(COMPOSE)
    broken = json.loads(json.dumps(COMPOSE))
    broken["services"]["web"]["imagee"] = "x"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema).validate(broken)


def test_it_has_every_service_and_mautrix_only_when_asked_for():
    assert set(SERVICES) == {"postgres", "synapse", "migrate", "archive", "web", "bridge", "mautrix-whatsapp"}
    assert {name for name, service in SERVICES.items() if service.get("profiles")} == {"mautrix-whatsapp"}


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_is_root_or_may_become_it(name):
    service = SERVICES[name]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", service["user"])
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert name == "migrate" or service["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_names_is_there(name):
    service = SERVICES[name]
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    for mounted in service.get("volumes", []):
        source = mounted.split(":")[0]
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]
    files = [value for value in service.get("environment", {}).values() if str(value).startswith("/run/secrets/")]
    assert {Path(file).name for file in files} <= set(service.get("secrets", []))
    for port in service.get("ports", []):
        assert port.startswith("127.0.0.1:")


def test_no_secret_is_written_in_the_file():
    for service in SERVICES.values():
        for name, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|TOKEN|SECRET", name):
                assert str(value).startswith("/run/secrets/"), name
    assert all(set(secret) == {"file"} and secret["file"].startswith("secrets/") for secret in COMPOSE["secrets"].values())
    assert "/secrets/" in (ROOT / ".gitignore").read_text().split()


@pytest.mark.parametrize("name", OURS)
def test_what_it_starts_is_a_program_that_there_is(name):
    program, *arguments = OURS[name]["command"]
    paths = {"python": sys.executable, "griffier": str(Path(sysconfig.get_path("scripts")) / "griffier")}
    kept = arguments[: arguments.index("-c")] if "-c" in arguments else arguments
    done = subprocess.run([paths[program], *kept, "--help"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_griffier_bridge_is_the_bridge(tmp_path):
    griffier = str(Path(sysconfig.get_path("scripts")) / "griffier")
    config, out = tmp_path / "griffier.yaml", tmp_path / "registration.yaml"
    config.write_text("bridge: {server_name: rijk.example, as_token: een, hs_token: twee}")
    arguments = [griffier, "bridge", "--config", str(config), "--registration", str(out)]
    assert subprocess.run(arguments, capture_output=True, timeout=60, check=False).returncode == 0
    assert yaml.safe_load(out.read_text())["as_token"] == "een"
    env = {name: value for name, value in os.environ.items() if name != "GRIFFIER_CONFIG"}
    lost = subprocess.run([griffier, "bridge"], capture_output=True, text=True, timeout=60, check=False, env=env)
    assert lost.returncode == 2
    assert "--config" in lost.stderr


@pytest.mark.parametrize("name", ["archive", "web", "bridge"])
def test_its_environment_and_the_annotated_file_are_settings(name, tmp_path, monkeypatch):
    for setting, value in SERVICES[name]["environment"].items():
        file = tmp_path / Path(str(value)).name
        if str(value).startswith("/run/secrets/"):
            file.write_text(f"geheim van {setting}\n")
        monkeypatch.setenv(setting, str(file) if file.exists() else str(value))
    config = ROOT / "config/griffier.yaml"
    if name == "bridge":
        bridge = BridgeSettings.load(config).bridge
        assert bridge.as_token.get_secret_value() == "geheim van GRIFFIER_BRIDGE__AS_TOKEN_FILE"
        assert (bridge.webhook_host, bridge.homeserver_url) == ("0.0.0.0", "http://synapse:8008")
        assert bridge.registration()["url"] == "http://bridge:29318"
    else:
        settings = Settings.load(config)
        told = settings.web.oidc.client_secret.get_secret_value()
        assert told == ("geheim van GRIFFIER_WEB__OIDC__CLIENT_SECRET_FILE" if name == "web" else "")
        assert settings.archiver.password.get_secret_value() == "geheim van GRIFFIER_ARCHIVER__PASSWORD_FILE"
        assert settings.database.url.get_secret_value() == "postgresql://griffier@postgres/griffier"


def test_synapse_loads_the_guard_and_takes_its_secrets_from_files(tmp_path):
    from signedjson.key import generate_signing_key, write_signing_keys
    from synapse.config.appservice import load_appservices
    from synapse.config.homeserver import HomeServerConfig

    from bridge.settings import Bridge

    text = (ROOT / "config/synapse/homeserver.yaml").read_text()
    named = set(re.findall(r"/run/secrets/(\w+)", text))
    assert named <= set(SERVICES["synapse"]["secrets"])
    for name in named:
        (tmp_path / name).write_text(f"geheim van {name}")
    with (tmp_path / "synapse_signing_key").open("w") as file:
        write_signing_keys(file, [generate_signing_key("a_1")])
    ours = Bridge(server_name="rijk.example", as_token="een", hs_token="twee").registration()
    (tmp_path / "bridge_registration").write_text(yaml.safe_dump(ours))
    here = tmp_path / "homeserver.yaml"
    here.write_text(text.replace("/run/secrets", str(tmp_path)).replace("/var/lib/griffier", str(tmp_path)))
    config = HomeServerConfig.load_config("Synapse", ["--config-path", str(here)])
    assert config.registration.registration_shared_secret == "geheim van synapse_registration"
    assert config.modules.loaded_modules[0][0].__name__ == "Guard"
    assert config.experimental.msc3202_transaction_extensions
    [service] = load_appservices(config.server.server_name, config.appservice.app_service_config_files)
    assert service.id == "griffier-whatsapp"


def test_mautrix_is_configured_as_an_archive_needs_it():
    encryption = MAUTRIX["encryption"]
    for setting in ("allow", "default", "require", "appservice", "msc4190", "self_sign"):
        assert encryption[setting] is True
    assert MAUTRIX["matrix"]["ghost_extra_profile_info"] is MAUTRIX["bridge"]["phone_numbers_in_profile"] is True
    assert MAUTRIX["bridge"]["no_bridge_info_state_key"] is False
    assert MAUTRIX["bridge"]["relay"]["enabled"] is False
    assert MAUTRIX["network"]["disable_view_once"] is False
    from bridge.office.provisioning import PREFIX

    assert MAUTRIX["homeserver"]["status_endpoint"] == f"http://bridge:29320{PREFIX}/linked"


def test_the_two_bridges_have_different_names():
    from bridge.settings import Bridge

    ours = Bridge(server_name="rijk.example")
    own = [one["regex"] for one in ours.registration()["namespaces"]["users"]]
    theirs = [one["regex"] for one in REGISTRATION["namespaces"]["users"]]
    accounts = ["@wa_31612345678:rijk.example", "@wa_lid-123:rijk.example", "@mautrixwhatsappbot:rijk.example"]
    for account in accounts:
        assert any(re.fullmatch(regex, account) for regex in theirs)
        assert not any(re.fullmatch(regex, account) for regex in own)
    for account in (ours.bot, ours.ghost("31612345678")):
        assert not any(re.fullmatch(regex, account) for regex in theirs)
    assert ours.appservice_id != REGISTRATION["id"]
