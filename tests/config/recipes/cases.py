"""Folders of every kind, small ones. `python -m tests.config.recipes.cases` writes the golden files."""

from __future__ import annotations

import json
from pathlib import Path

from config.recipes.folder import Folder
from config.recipes.rendering import blacktree_yml, dockerfile
from config.recipes.table import recipe

GOLDEN = Path(__file__).parent / "golden"


def package(**more: object) -> str:
    return json.dumps({"name": "shop", **more})


POM = "<project><properties><java.version>17</java.version></properties></project>"
BOOT = "plugins { id 'org.springframework.boot' }\nlanguageVersion = JavaLanguageVersion.of(21)"
WEB = '<Project Sdk="Microsoft.NET.Sdk.Web"><TargetFramework>net8.0</TargetFramework></Project>'
MAIN = "package main\n\nfunc main() {}\n"
LOCK = "GEM\n  specs:\n    pg (1.5)\n    puma (6.4)\n"
CASES: dict[str, dict[str, str]] = {
    "python-uv": {
        "pyproject.toml": '[project]\nrequires-python = ">=3.11"\ndependencies = ["fastapi[standard]"]',
        "uv.lock": "",
        "main.py": "from fastapi import FastAPI\napp = FastAPI()\n",
    },
    "python-poetry": {
        "pyproject.toml": '[tool.poetry.dependencies]\npython = "^3.12,<3.13"\ngunicorn = "*"',
        "poetry.lock": "",
        "src/shop/wsgi.py": "",
        "manage.py": "",
        "shop/wsgi.py": "",
    },
    "python-pdm": {
        "pyproject.toml": '[project]\ndependencies = ["flask", "gunicorn"]',
        "pdm.lock": "",
        "app.py": "application = Flask(__name__)",
    },
    "python-pip": {
        "requirements.txt": "celery\npsycopg2\n",
        ".python-version": "3.12.4\n",
        "Procfile": "web: gunicorn app:app --bind 0.0.0.0:$PORT\nmail_worker: celery -A app worker\n",
    },
    "python-package": {"pyproject.toml": '[project]\nscripts = {serve = "shop:main"}'},
    "node-npm": {"package.json": package(scripts={"start": "node server.js"}), "package-lock.json": ""},
    "node-pnpm-next": {
        "package.json": package(
            dependencies={"next": "15"}, scripts={"build": "next build", "start": "next start"},
            packageManager="pnpm@9.1.0", engines={"node": ">=20 <23"},
        ),
        "pnpm-lock.yaml": "",
    },
    "node-yarn-nest": {
        "package.json": package(
            dependencies={"@nestjs/core": "11"},
            scripts={"build": "nest build", "start": "nest start", "start:prod": "node dist/main"},
        ),
        "yarn.lock": "", ".yarnrc.yml": "", ".nvmrc": "v22.3.0\n",
    },
    "node-static-vite": {
        "package.json": package(devDependencies={"vite": "6"}, scripts={"build": "vite build"}),
        "package-lock.json": "", "index.html": "",
    },
    "node-prisma": {
        "package.json": package(devDependencies={"prisma": "6"}, scripts={"start": "node a.js && echo"}),
    },
    "go": {"go.mod": "module a\ngo 1.24.1\n", "go.sum": "", "cmd/shop/main.go": MAIN},
    "rust": {"Cargo.toml": '[package]\nname = "shop"', "Cargo.lock": "", "src/main.rs": ""},
    "java-maven": {"pom.xml": POM},
    "java-gradle": {"build.gradle": BOOT, "gradlew": ""},
    "dotnet": {"src/Shop.csproj": WEB, "tests/Shop.Tests.csproj": "<Project/>"},
    "elixir-phoenix": {
        "mix.exs": "app: :shop, {:phoenix, 1}, 'assets.deploy'", "mix.lock": "", "config/config.exs": "",
    },
    "ruby-rails": {
        "Gemfile": 'ruby "~> 3.3.0"', "Gemfile.lock": LOCK, "config/application.rb": "", "db/schema.rb": "",
        "app/assets/a.css": "",
    },
    "ruby-rack": {"Gemfile": "", "Gemfile.lock": LOCK, "config.ru": "", ".ruby-version": "ruby-3.2.2\n"},
    "php-laravel": {
        "composer.json": json.dumps({"require": {"php": "^8.2", "ext-intl": "*"}}), "composer.lock": "",
        "artisan": "", "public/index.php": "",
    },
    "php-plain": {"index.php": ""},
    "static": {"index.html": ""},
    "static-public": {"public/index.html": "", "README.md": ""},
}  # fmt: skip


def made(name: str) -> Folder:
    return Folder(frozenset(CASES[name]), CASES[name])


def written(name: str) -> str:
    """Both files of a case, as the golden file has them."""
    found = recipe(made(name))
    return f"{dockerfile(found)}\n---\n{blacktree_yml(found)}"


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for case in CASES:
        (GOLDEN / f"{case}.txt").write_text(written(case))
