"""The annotated file and the settings are the same list, with the same defaults."""

from dataclasses import asdict, is_dataclass
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from archiver.settings import Settings, SettingsError
from bridge.settings import Bridge

FILE = Path(__file__).parents[2] / "config" / "griffier.yaml"


def plain(value):
    """A setting's value as YAML writes it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {name: plain(part) for name, part in asdict(value).items()}
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name)) for name in type(value).model_fields}
    if hasattr(value, "get_secret_value"):
        return value.get_secret_value()
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


@pytest.mark.parametrize("section", ["organisation", "database", "homeserver", "archiver", "web", "canary"])
def test_every_setting_is_in_the_annotated_file_with_its_default(section, monkeypatch):
    monkeypatch.delenv("GRIFFIER_CONFIG", raising=False)
    defaults = getattr(Settings(), section)
    assert yaml.safe_load(FILE.read_text())[section] == {
        name: plain(getattr(defaults, name)) for name in type(defaults).model_fields
    }


def test_every_setting_of_the_bridge_too():
    assert yaml.safe_load(FILE.read_text())["bridge"] == {name: plain(getattr(Bridge(), name)) for name in Bridge.model_fields}


def test_the_annotated_file_can_be_used_as_it_is(monkeypatch):
    monkeypatch.setenv("GRIFFIER_CONFIG", "")
    assert Settings.load(FILE).archiver.sync_wait == 30


def test_environment_beats_file_and_a_secret_may_be_in_a_file_of_its_own(tmp_path, monkeypatch):
    (tmp_path / "wachtwoord").write_text("geheim\n")
    (tmp_path / "g.yaml").write_text(f"archiver: {{password_file: {tmp_path}/wachtwoord}}\nweb: {{port: 1}}\n")
    monkeypatch.setenv("GRIFFIER_CONFIG", "")
    monkeypatch.setenv("GRIFFIER_WEB__PORT", "2")
    settings = Settings.load(tmp_path / "g.yaml")
    assert (settings.web.port, settings.archiver.password.get_secret_value()) == (2, "geheim")
    assert "geheim" not in repr(settings)


def test_a_wrong_setting_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("GRIFFIER_CONFIG", "")
    (tmp_path / "g.yaml").write_text("web: {poort: 80}\narchiver: {password_file: /bestaat/niet}\n")
    with pytest.raises(SettingsError, match=r"(?s)password_file.*web.poort"):
        Settings.load(tmp_path / "g.yaml")
    with pytest.raises(SettingsError, match="no configuration file"):
        Settings.load(tmp_path / "niets.yaml")
