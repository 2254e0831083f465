"""What is written for people fits the program: settings, commands, the shape of a deployment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from bot.cli import app
from config.repository import Environment, Image, Repository, parse
from config.settings import Settings

ROOT = Path(__file__).parent.parent
WRITTEN = [ROOT / "README.md", ROOT / "Dockerfile", ROOT / "compose.yaml", *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.name)
def test_every_setting_that_is_named_exists(file: Path) -> None:
    named = set(re.findall(r"BLACKTREE_([A-Z][A-Z_]*[A-Z])\b", file.read_text())) - {
        "CONFIG",
        "SHA",
        "ENVIRONMENT",
    }

    assert {name.removesuffix("_FILE").lower() for name in named} <= set(Settings.model_fields)


def test_every_setting_is_documented_with_its_meaning() -> None:
    page = (ROOT / "docs" / "settings.md").read_text()

    for name, field in Settings.model_fields.items():
        row = next((line for line in page.splitlines() if line.startswith(f"| `{name.upper()}` |")), "")
        assert (field.description or "?") in row, f"{name} is missing or told otherwise"


def test_every_key_of_the_file_is_in_its_example_and_the_example_is_valid() -> None:
    page = (ROOT / "docs" / "blacktree-yml.md").read_text()
    example = page.partition("```yaml\n")[2].partition("```")[0]

    assert parse(example).environments["production"].port == 8080
    for model in (Repository, Image, Environment):
        for key in model.model_fields:
            assert re.search(rf"\b{key}:", example), key


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.name)
def test_every_command_that_is_named_exists(file: Path) -> None:
    commands = {
        str(command.name or (command.callback and command.callback.__name__))
        for command in app.registered_commands
    } | {str(group.name) for group in app.registered_groups}
    named = re.findall(r"(?:`|bin/|\"|exec bot )blacktree\"?,? \"?([a-z]+)", file.read_text())

    assert set(named) <= commands


def test_compose_has_bot_worker_and_all_that_they_need() -> None:
    services = YAML(typ="safe").load((ROOT / "compose.yaml").read_text())["services"]

    assert set(services) == {"bot", "worker", "rabbitmq", "postgres", "caddy"}
    for name in ("bot", "worker"):
        assert services[name]["build"]["target"] == name
        assert f"AS {name}\n" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("role", ["bot", "worker"])
def test_a_roles_lock_has_the_versions_that_are_tested(role: str) -> None:
    def pinned(file: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9._-]+==\S+", (ROOT / file).read_text(), re.MULTILINE))

    lock = pinned(f"requirements-{role}.lock")
    assert lock <= pinned("requirements.lock")
    foreign = {"sqlmodel", "gidgethub", "psycopg"} if role == "worker" else {"docker"}
    assert not foreign & {line.partition("==")[0] for line in lock}
