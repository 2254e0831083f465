"""`blacktree config import`, and `config check` of a folder with a Compose file."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from bot.cli import app
from config.repository import parse
from tests.config.importing.test_compose import TYPICAL
from tests.config.importing.test_kamal import TEXT as KAMAL
from tests.config.importing.test_procfile import TEXT as PROCFILE


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["config", *arguments])
    return result.exit_code, result.output or str(result.exception or "")


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    (tmp_path / "docker").mkdir()
    (tmp_path / "docker" / "prod").write_text("FROM scratch\n")
    (tmp_path / "config").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("compose.yaml", TYPICAL),
        ("docker-compose.yml", TYPICAL),
        ("Procfile", PROCFILE),
        ("config/deploy.yml", KAMAL),
    ],
)
def test_what_is_imported_passes_the_check_and_names_what_is_left_out(
    checkout: Path, name: str, text: str
) -> None:
    (checkout / name).write_text(text)

    assert run("import", name) == (
        0,
        ".blacktree.yml is written: read its comments, then `blacktree config check`\n",
    )
    written = (checkout / ".blacktree.yml").read_text()
    head = f"# From {Path(name).name}, by `blacktree config import`."
    assert written.startswith(f"{head}\n#\n# Left out:\n# - ")
    assert max(map(len, written.splitlines())) <= 120
    assert run("check")[0] == 0
    assert run("import", name, "--print", "--force") == (0, written), "printed, it is the same"


def test_a_compose_file_in_a_folder_of_a_checkout_has_its_paths_from_the_top(checkout: Path) -> None:
    (checkout / ".git").mkdir()
    (checkout / "docker" / ".env").write_text("PORT=3000")
    (checkout / "docker" / "compose.yaml").write_text(
        """
services:
  app: {build: {context: .., dockerfile: docker/prod}, ports: ["80:${PORT}"]}
  proxy: {build: {context: ., dockerfile: prod}}
"""
    )

    assert run("import", "docker/compose.yaml")[0] == 0

    written = (checkout / ".blacktree.yml").read_text()
    assert written.startswith("# From docker/compose.yaml, by")
    assert "# - docker/compose.yaml:3: services.app.ports" in written
    images = parse(written).images
    assert [(images[one].context, images[one].dockerfile) for one in ("app", "proxy")] == [
        (".", "docker/prod"),
        ("docker", "docker/prod"),
    ]
    assert run("check")[0] == 0


def test_a_file_that_is_there_is_written_over_only_by_force(checkout: Path) -> None:
    (checkout / "Procfile").write_text(PROCFILE)
    (checkout / ".blacktree.yml").write_text("mine")

    code, told = run("import", "Procfile")
    assert (code, "--force" in told) == (1, True)
    assert (checkout / ".blacktree.yml").read_text() == "mine"
    assert run("import", "Procfile", "--force")[0] == 0
    assert (checkout / ".blacktree.yml").read_text() != "mine"


def test_what_is_needed_and_not_carried_over_stands_first(checkout: Path) -> None:
    (checkout / "compose.yaml").write_text("services: {app: {build: ., privileged: true, hostname: x}}")

    written = run("import", "compose.yaml", "--print")[1]
    needed, left_out = written.index("privileged: only for"), written.index("hostname: is left out")
    assert written.index("needed perhaps") < needed < left_out


def test_what_gives_no_file_at_all_says_why(checkout: Path) -> None:
    (checkout / "compose.yaml").write_text("services: {db: {image: a b}, app: {build: .}}")
    (checkout / "other.yaml").write_text("a: 1")

    assert "must be an image in a registry" in run("import", "compose.yaml")[1]
    assert "is none of compose.yaml" in run("import", "other.yaml")[1]
    assert "there is no such file" in run("import", "gone.yaml")[1]
    assert not (checkout / ".blacktree.yml").exists()


def test_a_folder_with_a_compose_file_is_checked_as_a_push_of_it(checkout: Path) -> None:
    (checkout / "docker-compose.yml").write_text(TYPICAL)

    code, output = run("check")
    assert code == 0
    *left_out, counted = output.splitlines()
    assert counted == "docker-compose.yml is fine: 1 image, 2 environments, 3 things left out"
    assert len(left_out) == 3
    assert all(line.startswith("docker-compose.yml:") for line in left_out)

    (checkout / "docker-compose.yml").write_text(TYPICAL.replace("uploads: ,", "uploads: {external: true},"))
    code, output = run("check")
    assert (code, "leave `external` out" in output) == (1, True)
