"""Ruby, PHP, and pages that are there already."""

from __future__ import annotations

import re
import shlex

from config.recipes.folder import Folder
from config.recipes.recipe import Recipe, Unsure, version, ways

_RUBY = ("3.4", "3.3", "3.2")  # https://www.ruby-lang.org/en/downloads/branches/
_PHP = ("8.4", "8.3", "8.2")  # https://www.php.net/supported-versions.php
_PORT = 8080
_RAILS = "bin/rails server -b 0.0.0.0 -p 3000"
# What gems are compiled against, and what they then run with, in Debian's names.
_GEMS = {
    "pg": ("libpq-dev", "libpq5"),
    "mysql2": ("default-libmysqlclient-dev", "libmariadb3"),
    "sqlite3": ("libsqlite3-dev", "libsqlite3-0"),
    "psych": ("libyaml-dev", "libyaml-0-2"),
}


def ruby(folder: Folder) -> Recipe | None:
    if "Gemfile" not in folder:
        return None
    if "Gemfile.lock" not in folder:
        raise Unsure("there is no Gemfile.lock: run `bundle lock --add-platform x86_64-linux`, and commit it")
    named = re.search(r"^[ \t]*ruby[ \t]+['\"]([^'\"]+)", folder.text("Gemfile"), re.MULTILINE)
    wanted = folder.text(".ruby-version").strip().removeprefix("ruby-") or (named[1] if named else "")
    number = version(wanted.replace("~> ", "~="), _RUBY, _RUBY[0])
    rails = "config/application.rb" in folder
    gems = [one for one in _GEMS if re.search(rf"^ +{one} \(", folder.text("Gemfile.lock"), re.MULTILINE)]
    said = ways(folder)
    command = said.web or (shlex.split(_RAILS) if rails else None)
    if (
        command is None
        and "config.ru" in folder
        and re.search(r"^ +puma \(", folder.text("Gemfile.lock"), re.MULTILINE)
    ):
        command = ["bundle", "exec", "puma", "-b", "tcp://0.0.0.0:3000"]
    if command is None:
        raise Unsure(
            "how it is started can't be told: write it into a Procfile, such as `web: bundle exec puma`"
        )
    values = {
        "version": number,
        "rails": rails,
        "assets": rails and bool(folder.named(r"app/assets/.*|app/javascript/.*")),
        "build_packages": [_GEMS[one][0] for one in gems],
        "packages": [_GEMS[one][1] for one in gems],
    }
    hints = ["secrets: [RAILS_MASTER_KEY]"] if rails else []
    hints += ["release_command: [bin/rails, db:prepare]"] if rails and not said.release else []
    title = f"Ruby {number}{', Rails' if rails else ''}"
    seen = tuple(filter(None, ("Gemfile", "Gemfile.lock", folder.first("Procfile"))))
    return Recipe(
        "ruby",
        title,
        seen,
        values,
        command,
        3000,
        said.others,
        said.release,
        ("log", "tmp", "vendor/bundle"),
        hints,
    )


def php(folder: Folder) -> Recipe | None:
    if "composer.json" not in folder and not folder.first("index.php", "public/index.php"):
        return None
    needs = folder.json("composer.json").get("require", {})
    needs = needs if isinstance(needs, dict) else {}
    number = version(str(needs.get("php", "")).partition("|")[0], _PHP, _PHP[0])
    index = folder.first("public/index.php", "web/index.php", "index.php")
    if index is None:
        raise Unsure("there is no public/index.php and no index.php: write a Dockerfile, or move it there")
    laravel = "artisan" in folder
    extensions = sorted(name.removeprefix("ext-") for name in needs if re.fullmatch(r"ext-[a-z0-9_]+", name))
    values = {
        "version": number,
        "root": f"/app/{index.rpartition('/')[0]}".rstrip("/"),
        "composer": "composer.json" in folder,
        "lock": "composer.lock" in folder,
        "laravel": laravel,
        "extensions": [*extensions, *(["pdo_mysql", "pdo_pgsql", "pcntl"] if laravel else [])],
    }
    command = ["frankenphp", "php-server", "--root", values["root"], "--listen", f":{_PORT}"]
    seen = tuple(filter(None, (folder.first("composer.json"), index, folder.first("artisan"))))
    title = f"PHP {number}{', Laravel' if laravel else ''}"
    hints = ["secrets: [APP_KEY]", "release_command: [php, artisan, migrate, --force]"] if laravel else []
    return Recipe(
        "php",
        title,
        seen,
        values,
        [str(one) for one in command],
        _PORT,
        {},
        None,
        # Symfony starts with the one that it has in the repository: its secrets are in others.
        ("vendor", "node_modules", *(["!.env"] if "symfony.lock" in folder else [])),
        hints,
    )


def static(folder: Folder) -> Recipe | None:
    index = folder.first("index.html", "public/index.html", "dist/index.html", "docs/index.html")
    if index is None:
        return None
    site = index.rpartition("/")[0] or "."
    return Recipe("static", "static pages", (index,), {"site": site}, (), _PORT)
