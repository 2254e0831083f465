"""What is written for people fits the program: settings, commands, the shape of a deployment."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from bot.cli import app
from config.errors import ConfigError
from config.repository import Environment, Image, Repository, parse
from config.settings import Settings
from config.sources import load
from workers.contract.credential import Credential

ROOT = Path(__file__).parent.parent
WRITTEN = [ROOT / "README.md", ROOT / "Dockerfile", ROOT / "compose.yaml", *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.name)
def test_every_setting_that_is_named_exists(file: Path) -> None:
    named = set(re.findall(r"BLACKTREE_([A-Z][A-Z_]*[A-Z])\b", file.read_text())) - {
        "CONFIG",
        "SHA",
        "ENVIRONMENT",
        "PROCESS",
        "TASK",
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
        for name, field in model.model_fields.items():
            key = field.alias or name
            assert re.search(rf"\b{key}:", example), key


@pytest.mark.parametrize("file", WRITTEN, ids=lambda file: file.name)
def test_every_command_that_is_named_exists(file: Path) -> None:
    commands = {
        str(command.name or (command.callback and command.callback.__name__.replace("_", "-")))
        for command in app.registered_commands
    } | {str(group.name) for group in app.registered_groups}
    named = re.findall(r"(?:`|bin/|\"|exec bot )blacktree\"?,? \"?([a-z]+(?:-[a-z]+)*)", file.read_text())

    assert set(named) <= commands


@pytest.mark.parametrize(("page", "fewest"), [("architecture.md", 30), ("security.md", 10)])
def test_every_file_that_a_page_about_the_code_names_is_there(page: str, fewest: int) -> None:
    text = (ROOT / "docs" / page).read_text()
    named = set(re.findall(r"\b(?:bot|workers|config|tests)/[a-z_/0-9.]*[a-z_0-9/]", text))
    named |= {f"bot/{name}" for name in re.findall(r"`((?:sweeps|fleet|intake)/[a-z_]+\.py)`", text)}

    assert len(named) > fewest
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_compose_has_bot_worker_and_all_that_they_need() -> None:
    services = YAML(typ="safe").load((ROOT / "compose.yaml").read_text())["services"]

    assert set(services) == {"bot", "enrol", "worker", "rabbitmq", "postgres", "caddy"}
    for name in ("bot", "worker"):
        assert services[name]["build"]["target"] == name
        assert f"AS {name}\n" in (ROOT / "Dockerfile").read_text()


def test_compose_has_its_worker_make_the_rules_of_what_containers_reach() -> None:
    services = YAML(typ="safe").load((ROOT / "compose.yaml").read_text())["services"]
    worker = services["worker"]

    assert (worker["network_mode"], worker["cap_add"]) == ("host", ["NET_ADMIN"])
    assert worker["environment"]["BLACKTREE_QUEUE_URL"].endswith("@127.0.0.1/")
    assert services["rabbitmq"]["ports"] == ["127.0.0.1:5672:5672"]


def test_composes_bot_and_what_runs_before_it_have_the_same_key() -> None:
    services = YAML(typ="safe").load((ROOT / "compose.yaml").read_text())["services"]

    keys = {services[name]["environment"]["BLACKTREE_SECRET_KEY"] for name in ("bot", "enrol")}
    assert keys == {"${SECRET_KEY:-}"}


def test_what_upgrading_says_of_refused_settings_is_what_the_program_says() -> None:
    page = (ROOT / "docs" / "upgrading.md").read_text()
    rows = re.findall(r"^\| `([A-Z_]+)=([^`]+)` \| `([^`]+)` \|", page, re.MULTILINE)

    assert len(rows) >= 12
    for name, value, told in rows:
        with pytest.raises(ConfigError) as caught:
            load({f"BLACKTREE_{name}": value})
        assert str(caught.value) == f"BLACKTREE_{name}: {told}"


def test_every_link_within_the_docs_leads_to_a_heading() -> None:
    def anchors(file: Path) -> set[str]:
        heads = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}

    for page in (*(ROOT / "docs").glob("*.md"), ROOT / "README.md"):
        for target, anchor in re.findall(r"\]\(([^)#:\s]*)(?:#([^)\s]+))?\)", page.read_text()):
            file = (page.parent / target).resolve() if target else page
            assert file.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(file), f"{page.name}: {target}#{anchor}"


def test_compose_brings_the_tables_up_to_date_when_no_older_bot_is_there_any_more() -> None:
    services = YAML(typ="safe").load((ROOT / "compose.yaml").read_text())["services"]
    assert services["enrol"]["depends_on"]["bot"] == {"condition": "service_started"}


def test_what_compose_runs_first_gives_its_worker_the_credential_that_it_reads(tmp_path: Path) -> None:
    services = YAML(typ="safe").load((ROOT / "compose.yaml").read_text())["services"]
    program, *command = services["enrol"]["command"]
    written = command[command.index("--file") + 1]
    assert (program, services["worker"]["environment"]["BLACKTREE_WORKER_CREDENTIAL_FILE"]) == (
        "blacktree",
        written,
    )
    file, env = tmp_path / "worker", {"BLACKTREE_DATA_DIR": str(tmp_path)}

    here = [part.replace(written, str(file)).replace("${WORKER_NAME:-worker-1}", "w") for part in command]
    for _ in range(2):
        result = CliRunner().invoke(app, here, env=env)
        assert result.exit_code == 0, result.output

    assert Credential.parse(file.read_text()).name == "w"


@pytest.mark.parametrize("role", ["bot", "worker"])
def test_a_roles_lock_has_the_versions_that_are_tested(role: str) -> None:
    def pinned(file: str) -> set[str]:
        return set(re.findall(r"^[a-z0-9._-]+==\S+", (ROOT / file).read_text(), re.MULTILINE))

    lock = pinned(f"requirements-{role}.lock")
    assert lock <= pinned("requirements.lock")
    foreign = {"sqlmodel", "gidgethub", "psycopg"} if role == "worker" else {"docker"}
    assert not foreign & {line.partition("==")[0] for line in lock}
