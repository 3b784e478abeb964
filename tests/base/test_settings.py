"""Settings: where they come from, in which order, and what is refused."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gureum.base.settings import Settings, SettingsError, describe, load_settings, private_ranges

ROOT = Path(__file__).parents[2]


def test_environment_wins_over_file_wins_over_default(tmp_path: Path) -> None:
    (tmp_path / "gureum.toml").write_text('aws_port = 1000\ndefault_region = "eu-west-1"\nmemory_promise = 2\n')
    settings = load_settings({"GUREUM_HOME": str(tmp_path), "GUREUM_AWS_PORT": "2000"})
    assert (settings.aws_port, settings.default_region, settings.memory_promise) == (2000, "eu-west-1", 2.0)
    assert settings.default_account == Settings().default_account


@pytest.mark.parametrize("word", ["true", "1", "yes", "On"])
def test_truth_in_the_environment_has_the_usual_words(word: str) -> None:
    assert load_settings({"GUREUM_SIMULATE": word}).simulate is True


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("aws_prt = 1", "aws_prt"),
        ('aws_port = "1"', "aws_port"),
        ("aws_port = 70000", "aws_port"),
        ('log_level = "loud"', "log_level"),
        ('default_account = "12"', "default_account"),
        ('home = "/elsewhere"', "home"),
    ],
)
def test_wrong_line_in_the_file_is_named(tmp_path: Path, line: str, named: str) -> None:
    (tmp_path / "gureum.toml").write_text(line)
    with pytest.raises(SettingsError, match=f"gureum.toml.*`{named}`"):
        load_settings({"GUREUM_HOME": str(tmp_path)})


def test_broken_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "gureum.toml").write_text("= what\n")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load_settings({"GUREUM_HOME": str(tmp_path)})


@pytest.mark.parametrize("variable", ["GUREUM_AWS_PRT", "GUREUM_EPHEMERAL"])
def test_wrong_variable_is_named(variable: str) -> None:
    with pytest.raises(SettingsError, match=variable):
        load_settings({variable: "perhaps"})


def test_variables_between_our_own_processes_are_no_settings() -> None:
    load_settings({"GUREUM_READY_FD": "7", "GUREUM_SUPERVISOR": "/x", "GUREUM_PROCESS": "agent", "GUREUM_LIFE_FD": "8"})


def test_home_is_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_settings({"GUREUM_HOME": "cloud"}).home == str(tmp_path / "cloud")


def test_home_by_a_link_is_where_it_leads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("cloud")
    assert load_settings({"GUREUM_HOME": str(tmp_path / "link")}).home == str(tmp_path / "cloud")
    monkeypatch.setattr("gureum.base.settings.SYSTEM_HOME", str(tmp_path / "link"))
    assert load_settings({"GUREUM_HOME": str(tmp_path / "cloud")}).default_home


def test_every_key_is_on_the_page_of_settings() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()
    assert describe() in page, "run `make docs`"
    assert all(f"`GUREUM_{field.name.upper()}`" in page for field in msgspec.structs.fields(Settings))


@pytest.mark.parametrize(
    "value", ["8.8.8.0/24", "10.0.0.1/8", "169.254.0.0/16", "10.0.0.0/7", "127.0.0.1", "999.1.1.1"]
)
def test_only_private_ranges_are_let_through_besides(value: str) -> None:
    with pytest.raises(SettingsError, match="egress_private"):
        load_settings({"GUREUM_EGRESS_PRIVATE": value})


@pytest.mark.parametrize("value", ["all", "default", "lo", "../x", "a b", ""])
def test_no_interface_has_such_a_name(value: str) -> None:
    with pytest.raises(SettingsError, match="egress"):
        load_settings({"GUREUM_EGRESS": value})


def test_private_ranges_are_told_once() -> None:
    assert private_ranges("10.1.0.0/16, 10.1.2.0/24,192.168.3.4") == ("10.1.0.0/16", "192.168.3.4/32")
