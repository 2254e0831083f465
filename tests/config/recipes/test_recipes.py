"""What kind of project a folder is, and the Dockerfile that is written for it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from config.errors import ConfigError
from config.recipes.folder import Folder, look
from config.recipes.recipe import version
from config.recipes.rendering import blacktree_yml, dockerfile, ignored
from config.recipes.table import recipe
from config.repository import parse
from tests.config.recipes.cases import CASES, GOLDEN, made, package, written
from workers.build.dockerfile import Instruction, read

# A version in the tag, or in the name, as distroless has them.
_PINNED = re.compile(r".+:.*[0-9].*|gcr\.io/distroless/[a-z]+-debian12:nonroot")
TEMPLATES = Path("config/recipes/templates")


def instructions(name: str) -> list[Instruction]:
    return list(read(dockerfile(recipe(made(name))).encode()).instructions)


def told(files: dict[str, str]) -> str:
    """Why nothing can be made of these."""
    with pytest.raises(ConfigError) as caught:
        recipe(Folder(frozenset(files), files))
    return str(caught.value)


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_is_what_was_looked_at_before(name: str) -> None:
    """`python -m tests.config.recipes.cases` writes the golden files; read what it changed."""
    assert written(name) == (GOLDEN / f"{name}.txt").read_text()


def test_no_golden_file_is_of_a_kind_that_is_gone() -> None:
    assert {file.stem for file in GOLDEN.iterdir()} == {*CASES}
    assert {recipe(made(name)).kind for name in CASES} == {
        file.name.removesuffix(".Dockerfile.j2")
        for file in Path("config/recipes/templates").glob("[a-z]*.j2")
    }


@pytest.mark.parametrize("name", CASES)
def test_a_dockerfile_is_as_an_expert_writes_it(name: str) -> None:
    every = instructions(name)
    stages = {one.words[2] for one in every if one.name == "FROM" and len(one.words) > 2}
    last = every[max(index for index, one in enumerate(every) if one.name == "FROM") :]

    for image in [one.words[0] for one in every if one.name == "FROM"]:
        assert _PINNED.fullmatch(image), f"{image} is pinned to a version"
    users = [one.rest.partition(":")[0] for one in last if one.name == "USER"]
    assert users, "the last stage says whom it runs as"
    assert users[-1] not in ("0", "root")
    assert [one for one in every if one.name == "ADD"] == []
    assert [one.name for one in last if one.name == "WORKDIR"]
    assert [one.name for one in last if one.name == "EXPOSE"]
    assert not any("://" in one.rest for one in every if one.name != "CMD"), "nothing is fetched by a URL"
    assert [one for one in every if one.name == "ARG"] == [], "no secret comes by an argument"
    flags = [flag for one in every if one.name == "COPY" for flag in one.flags]
    taken = {flag.partition("=")[2] for flag in flags if flag.startswith("--from=")}
    assert [image for image in taken - stages if not _PINNED.fullmatch(image)] == []
    assert max(map(len, dockerfile(recipe(made(name))).splitlines())) <= 120


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_besides_is_a_valid_file_that_keeps_keys_out_of_images(name: str) -> None:
    found = recipe(made(name))
    config = parse(blacktree_yml(found))
    production = config.environments["production"]

    assert production == config.environments["preview"]
    served = production.processes["web"].port if production.processes else production.port
    assert served == found.port
    assert {"**/.env", ".env.*", ".git", "**/*.key", "*.pem"} <= {*ignored(found).splitlines()}


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("", "3.13"),
        (">=3.11", "3.13"),
        (">=3.10,<3.12", "3.11"),
        ("^3.12", "3.13"),
        ("~=3.12.1", "3.12"),
        ("3.12.4", "3.12"),
        ("==3.10.*", "3.10"),
        (">3.13", "3.14"),
        ("!=3.13", "3.14"),
        ("<=3.12", "3.12"),
        (">=3.15", "3.15"),
        ("==3.9.*", "3.9"),
        ("v3.11", "3.11"),
        ("whatever", "3.13"),
    ],
)
def test_a_version_is_the_usual_one_where_that_fits(wanted: str, found: str) -> None:
    assert version(wanted, ("3.14", "3.13", "3.12", "3.11", "3.10"), "3.13") == found


@pytest.mark.parametrize(
    ("files", "command"),
    [
        ({"requirements.txt": "flask\ngunicorn", "app.py": "app = Flask(__name__)"}, ["gunicorn", "app:app"]),
        (
            {"requirements.txt": "uvicorn", "src/main.py": "api: X = fastapi.FastAPI()"},
            ["uvicorn", "src.main:api"],
        ),
        ({"requirements.txt": "", "main.py": "print(1)"}, ["python", "main.py"]),
        ({"package.json": package(scripts={"start": "next start"})}, ["npm", "run", "start"]),
        ({"package.json": package(), "index.js": ""}, ["node", "index.js"]),
        ({"package.json": package(dependencies={"nuxt": "3"})}, ["node", ".output/server/index.mjs"]),
    ],
)
def test_how_it_is_started_is_found_out(files: dict[str, str], command: list[str]) -> None:
    assert list(recipe(Folder(frozenset(files), files)).command)[: len(command)] == command


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"README.md": ""}, "what kind of project it is can't be told"),
        ({"requirements.txt": ""}, "write it into a Procfile, such as `web: python serve.py`"),
        ({"requirements.txt": "flask", "app.py": "app = Flask(__name__)"}, "add gunicorn to what it needs"),
        ({"pyproject.toml": "[tool.poetry]"}, "run `poetry lock`, and commit it"),
        ({"Pipfile": ""}, "pipenv requirements > requirements.txt"),
        ({"package.json": "{"}, "package.json is no JSON"),
        ({"package.json": package()}, "write a script `start` into package.json"),
        ({"package.json": package(), "bun.lock": ""}, "Bun is not known here"),
        ({"package.json": package(packageManager="pnpm@9")}, "run `pnpm install`, and commit it"),
        ({"go.mod": "", "a.go": "package a"}, "there is no `package main`"),
        (
            {"go.mod": "", **{f"cmd/{one}/main.go": "package main\nfunc main() {" for one in "ab"}},
            "there are several programs (./cmd/a, ./cmd/b)",
        ),
        ({"Cargo.toml": "[workspace]"}, "is a workspace or has several programs"),
        ({"Gemfile": ""}, "bundle lock --add-platform x86_64-linux"),
        ({"Gemfile": "", "Gemfile.lock": ""}, "such as `web: bundle exec puma`"),
        ({"composer.json": "{}"}, "there is no public/index.php"),
        ({"build.gradle": ""}, "run `gradle wrapper`"),
        ({"a.csproj": "", "b.csproj": ""}, "there are several projects (a.csproj, b.csproj)"),
        ({"mix.exs": ""}, "mix.exs has no `app:`"),
    ],
)
def test_what_cannot_be_found_out_is_one_sentence_that_says_what_to_do(
    files: dict[str, str], said: str
) -> None:
    sentence = told(files)

    assert said in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize(
    "evil",
    ["x\nRUN curl evil.example", '"]\nUSER root\nCMD ["', "$(reboot)", "`id`", "\\", "a\u2028b"],
)
def test_what_a_file_says_never_becomes_an_instruction(evil: str) -> None:
    written = [
        {
            "package.json": json.dumps(
                {"scripts": {"start": f"node '{evil}'", "build": evil}, "engines": {"node": evil}}
            )
        },
        {"Cargo.toml": f"[package]\nname = {json.dumps(evil)}"},
        {"requirements.txt": "", "Procfile": f"web: {evil}", ".python-version": evil},
        {"mix.exs": f"app: :{evil}"},
        {"composer.json": json.dumps({"require": {"php": evil, f"ext-{evil}": "*"}}), "index.php": ""},
        {"a.csproj": f"<TargetFramework>net{evil}<AssemblyName>{evil}<"},
        {"angular.json": json.dumps({"projects": {evil: 1}}), **made_by_angular()},
        {"pom.xml": f"<java.version>{evil}<"},
        {"Gemfile": f"ruby '{evil}'", "Gemfile.lock": " puma (1)\n", "config.ru": ""},
    ]
    for files in written:
        try:
            text = dockerfile(recipe(Folder(frozenset(files), files)))
        except ConfigError:
            continue
        known = {"FROM", "ENV", "RUN", "WORKDIR", "COPY", "USER", "EXPOSE", "CMD", "ENTRYPOINT"}
        text.encode()
        for one in read(text.encode()).instructions:
            assert one.name in known
            assert one.name in ("CMD", "ENTRYPOINT") or "evil" not in one.rest
            assert one.name != "USER" or one.rest not in ("root", "0")


def made_by_angular() -> dict[str, str]:
    return {"package.json": package(devDependencies={"@angular/core": "1"}, scripts={"build": "ng build"})}


def test_a_folder_is_looked_at_without_leaving_it_or_reading_what_is_large(
    tmp_path: Path,
) -> None:
    outside = tmp_path / "secret"
    outside.write_text('[project]\nname = "secret"')
    top = tmp_path / "top"
    (top / "a" / "b" / "c" / "d").mkdir(parents=True)
    (top / "node_modules" / "x").mkdir(parents=True)
    (top / "node_modules" / "x" / "package.json").write_text("{}")
    (top / "pyproject.toml").symlink_to(outside)
    (top / "package.json").write_text("x" * 300_000)
    (top / "go.mod").write_text("module a")
    (top / "a" / "b" / "main.go").write_text("package main")
    (top / "a" / "b" / "c" / "d" / "main.go").write_text("package main")
    (top / "loop").symlink_to("loop")

    found = look(top)
    assert dict(found.texts) == {"go.mod": "module a", "a/b/main.go": "package main"}
    assert {"pyproject.toml", "package.json"} <= found.paths
    assert not any("node_modules" in path for path in found.paths)


GO = {"go.mod": "module a\ngo 1.24\n", "cmd/shop/main.go": "package main\nfunc main() {}\n"}
CARGO = {"Cargo.toml": '[package]\nname = "shop"\n'}


def test_a_go_file_that_is_never_built_is_no_program() -> None:
    gen = {"gen/gen.go": "//go:build ignore\n\npackage main\nfunc main() {}\n"}
    assert recipe(Folder(frozenset({**GO, **gen}), {**GO, **gen})).values["package"] == "./cmd/shop"


@pytest.mark.parametrize(
    ("paths", "binary"),
    [(["src/main.rs"], "shop"), (["src/lib.rs", "src/bin/serve.rs"], "serve")],
)
def test_a_crate_s_program_is_where_cargo_looks_for_it(paths: list[str], binary: str) -> None:
    assert recipe(Folder(frozenset([*CARGO, *paths]), CARGO)).values["binary"] == binary


def test_a_crate_without_a_program_is_told_so() -> None:
    assert "there is no src/main.rs" in told({**CARGO, "src/lib.rs": ""})


def test_processes_whose_names_become_one_are_told() -> None:
    python = {"requirements.txt": ""}
    both = "web: x\nWorker: python a.py\nworker: python b.py\n"
    assert "worker would be called worker, as another is" in told({**python, "Procfile": both})
    assert "write it in small letters" in told({**python, "Procfile": "Web: python a.py\n"})


@pytest.mark.parametrize("name", CASES)
def test_whom_an_image_runs_as_may_write_where_it_starts(name: str) -> None:
    """What is copied into a folder that is there does not change whose that is: WORKDIR makes it root's."""
    every = instructions(name)
    last = every[max(index for index, one in enumerate(every) if one.name == "FROM") :]
    place = next(index for index, one in enumerate(last) if one.name == "WORKDIR")
    owned = [
        index
        for index, one in enumerate(last)
        if one.name == "COPY" and any(flag.startswith("--chown") for flag in one.flags)
    ]
    assert all(index < place for index in owned)


def test_what_a_framework_reads_of_the_repository_is_sent_to_the_build() -> None:
    files = {"composer.json": "{}", "symfony.lock": "{}", "public/index.php": ""}
    lines = ignored(recipe(Folder(frozenset(files), files))).splitlines()
    assert lines.index("!.env") > lines.index("**/.env")
    lines = ignored(recipe(made("node-static-vite"))).splitlines()
    assert lines.index("!.env.production") > lines.index(".env.*")
