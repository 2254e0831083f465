"""`blacktree config`: a file is checked where it lies, without an instance."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bot.cli import app
from config.schema import schema


def run(*arguments: str) -> tuple[int, list[str]]:
    result = CliRunner().invoke(app, ["config", *arguments])
    return result.exit_code, result.output.splitlines()


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    monkeypatch.chdir(folder)
    return folder


def write(folder: Path, text: str) -> Path:
    file = folder / ".blacktree.yml"
    file.write_text(text)
    return file


def test_a_file_that_is_fine_is_counted(checkout: Path) -> None:
    write(
        checkout,
        "images: {a: {}, b: {}}\nenvironments: {x: {image: a}, y: {image: b}, preview: {image: a}}\n",
    )

    assert run("check") == (0, [".blacktree.yml is fine: 2 images, 3 environments"])


def test_a_bad_setting_of_an_instance_is_none_of_its_business(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BLACKTREE_PORT", "nonsense")
    write(checkout, "images: {a: {}}\n")

    assert run("check") == (0, [".blacktree.yml is fine: 1 image, 2 environments"])


def test_each_fault_is_a_line_that_names_the_file_as_it_was_given(checkout: Path) -> None:
    file = write(checkout, "imges: {}\nretries: 11\n")

    for given in (checkout, file):
        code, lines = run("check", str(given))
        assert code == 1
        assert sorted(line.split(": ")[0] for line in lines) == [f"{file}:1", f"{file}:2"]
        assert f"{file}:1: imges: there is no such key. Did you mean images?" in lines


def test_a_folder_without_a_file_has_the_defaults(checkout: Path) -> None:
    assert run("check")[0] == 0

    (checkout / "Dockerfile").unlink()
    code, (told,) = run("check")
    said = ".blacktree.yml: images.app.dockerfile: there is no file Dockerfile, and none can be made: what"
    assert (code, told[: len(said)]) == (1, said)
    assert told.endswith("index.html: write a Dockerfile")


def test_a_dockerfile_that_a_worker_makes_is_none_that_is_missing(checkout: Path) -> None:
    (checkout / "Dockerfile").unlink()
    (checkout / "index.html").write_text("hello")

    assert run("check")[0] == 0
    write(checkout, "images: {a: {dockerfile: docker/prod}}\n")
    assert run("check")[0] == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("images:\n  a:\n    context: nope\n", "3: images.a.context: there is no folder nope"),
        ("images:\n  a:\n    context: Dockerfile\n", "3: images.a.context: there is no folder Dockerfile"),
        ("images:\n  a:\n    dockerfile: .\n", "3: images.a.dockerfile: there is no file ."),
        ("images:\n  a:\n    context: ../out\n", "3: images.a.context: must stay inside the repository"),
        ("images:\n  a:\n    context: out\n", "3: images.a.context: out leads out of the checkout"),
        ("images:\n  a:\n    dockerfile: out/f\n", "3: images.a.dockerfile: out/f leads out of the checkout"),
        ("images:\n  a:\n    dockerfile: round\n", "3: images.a.dockerfile: "),
    ],
)
def test_a_path_that_is_not_in_the_checkout_is_a_fault(checkout: Path, text: str, told: str) -> None:
    outside = checkout.parent / "out"
    outside.mkdir()
    (outside / "f").write_text("FROM scratch\n")
    (checkout / "out").symlink_to(outside)
    (checkout / "round").symlink_to("round")
    write(checkout, text)

    code, lines = run("check")

    assert code == 1
    assert lines[0].startswith(f".blacktree.yml:{told}")


@pytest.mark.parametrize("content", [None, b"\xff\xfe"])
def test_a_file_that_cannot_be_read_is_a_fault(checkout: Path, content: bytes | None) -> None:
    file = checkout / "other.yml"
    if content is not None:
        file.write_bytes(content)

    code, lines = run("check", str(file))

    assert code == 1
    assert lines[0].startswith(f"{file}: ")


def test_the_schema_is_printed() -> None:
    code, lines = run("schema")

    assert code == 0
    assert json.loads("\n".join(lines)) == schema()


def test_what_a_worker_makes_no_dockerfile_for_is_no_fine_folder(checkout: Path) -> None:
    (checkout / "Dockerfile").unlink()
    (checkout / "package.json").write_text('{"scripts": {"start": "node x"}}')
    assert run("check") == (0, [".: no .blacktree.yml, the defaults fit"])

    (checkout / "Dockerfile.dev").touch()
    assert run("check") == (
        1,
        [
            ".blacktree.yml: images.app.dockerfile: there is no file Dockerfile, but Dockerfile.dev: name it"
            " as `dockerfile`, or rename it"
        ],
    )
    (checkout / "Dockerfile.dev").unlink()
    (checkout / "Dockerfile").mkdir()
    assert run("check") == (
        1,
        [
            ".blacktree.yml: images.app.dockerfile: Dockerfile is no file: a folder, or a link to what is not"
            " there"
        ],
    )


def test_each_line_about_another_folder_says_which(checkout: Path) -> None:
    (checkout / "compose.yaml").write_text(
        "services:\n  web: {build: ., volumes: ['./a/./b:/c', tmpfs:/d]}\n"
    )
    code, lines = run("check", str(checkout))
    assert code == 1
    assert all(line.startswith(f"{checkout}/compose.yaml:2: ") for line in lines)
    assert "./a/./b of a host" in lines[0]
