"""Python: uv, Poetry, PDM or pip; Django, Flask, FastAPI and the like, or a Procfile."""

from __future__ import annotations

import re
from collections.abc import Sequence

from config.recipes.folder import Folder
from config.recipes.recipe import Recipe, Unsure, version, ways

# https://devguide.python.org/versions/
VERSIONS = ("3.14", "3.13", "3.12", "3.11", "3.10")
_DEFAULT = "3.13"
_PORT = 8000
_HINT_DJANGO = ("release_command: [python, manage.py, migrate]",)
# What is built from source against a library that the slim image does not have, in Debian's names.
_LIBRARIES = {"psycopg2": "libpq5", "psycopg": "libpq5", "mysqlclient": "libmariadb3"}
# Other files that a requirements.txt reads.
_NEIGHBOURS = re.compile(r"^[ \t]*(-r|-c|-e|--requirement|--constraint|--editable|\.|file:)", re.MULTILINE)
_MODULES = ("app.py", "main.py", "wsgi.py", "asgi.py", "application.py", "server.py")


def recipe(folder: Folder) -> Recipe | None:
    marks = [one for one in ("pyproject.toml", "requirements.txt", "setup.py", "Pipfile") if one in folder]
    if not marks:
        return None
    manager, lock = _manager(folder)
    number = version(_wanted(folder), VERSIONS, _DEFAULT)
    said = ways(folder)
    command = said.web or _command(folder)
    needs = _needs(folder)
    values = {
        "version": number,
        "manager": manager,
        "lock": lock,
        "packaged": bool(folder.named(r"src/.*")),
        "alone": not _NEIGHBOURS.search(folder.text("requirements.txt")),
        "packages": [package for name, package in _LIBRARIES.items() if _has(needs, name)],
    }
    seen = [*marks[:1], *([lock] if lock and lock not in marks[:1] else []), *_seen(folder)]
    return Recipe(
        "python",
        f"Python {number} with {manager}",
        tuple(seen),
        values,
        command,
        _PORT,
        said.others,
        said.release,
        ("**/__pycache__", "**/*.pyc", ".venv", "venv", ".pytest_cache", ".mypy_cache", ".ruff_cache"),
        _HINT_DJANGO if "manage.py" in folder and not said.release else (),
    )


def _seen(folder: Folder) -> list[str]:
    return [one for one in ("Procfile", "manage.py", ".python-version") if one in folder]


def _manager(folder: Folder) -> tuple[str, str | None]:
    """Who installs what it needs, and the file that pins it."""
    for lock, manager in (("uv.lock", "uv"), ("poetry.lock", "Poetry"), ("pdm.lock", "PDM")):
        if lock in folder:
            return manager, lock
    tools = folder.toml("pyproject.toml").get("tool", {})
    if isinstance(tools, dict) and "poetry" in tools and "requirements.txt" not in folder:
        raise Unsure(
            "pyproject.toml is Poetry's, and there is no poetry.lock: run `poetry lock`, and commit it"
        )
    if "requirements.txt" in folder:
        return "pip", "requirements.txt"
    if "Pipfile" in folder:
        raise Unsure("Pipfiles are not read: run `pipenv requirements > requirements.txt`, and commit that")
    return "pip", None


def _wanted(folder: Folder) -> str:
    """What the project says of Python's version, wherever."""
    project = folder.toml("pyproject.toml")
    poetry = project.get("tool", {})
    poetry = poetry.get("poetry", {}) if isinstance(poetry, dict) else {}
    depends = poetry.get("dependencies", {}) if isinstance(poetry, dict) else {}
    own = project.get("project", {})
    places = (
        folder.text(".python-version").partition("\n")[0],
        folder.text("runtime.txt").strip().removeprefix("python-"),
        own.get("requires-python", "") if isinstance(own, dict) else "",
        depends.get("python", "") if isinstance(depends, dict) else "",
    )
    return next((str(one) for one in places if re.search(r"[0-9]", str(one))), "")


def _needs(folder: Folder) -> str:
    return "\n".join(folder.text(one) for one in ("pyproject.toml", "requirements.txt", "setup.py")).lower()


def _has(needs: str, name: str) -> bool:
    return bool(re.search(rf"(?<![\w-]){name}(?![\w-])", needs))


def _command(folder: Folder) -> Sequence[str]:
    needs = _needs(folder)

    def has(name: str) -> bool:
        return _has(needs, name)

    if "manage.py" in folder:
        return _django(folder, gunicorn=has("gunicorn"), uvicorn=has("uvicorn"))
    for made, kind in ((r"FastAPI|Starlette|Litestar|Quart", "ASGI"), (r"Flask|Bottle|Falcon|App", "WSGI")):
        for path in folder.named(rf"(\w+/)?({'|'.join(map(re.escape, _MODULES))})"):
            found = re.search(
                rf"^(\w+)\s*(?::[^=\n]+)?=\s*(?:\w+\.)?(?:{made})\(", folder.text(path), re.MULTILINE
            )
            if found:
                module = f"{path.removesuffix('.py').replace('/', '.')}:{found[1]}"
                return _served(
                    module, kind, gunicorn=has("gunicorn"), uvicorn=has("uvicorn") or has("fastapi")
                )
    project = folder.toml("pyproject.toml").get("project", {})
    scripts = project.get("scripts", {}) if isinstance(project, dict) else {}
    if (
        isinstance(scripts, dict)
        and len(scripts) == 1
        and re.fullmatch(r"[\w.-]+", one := next(iter(scripts)))
    ):
        return [one]
    if script := folder.first("main.py", "app.py", "server.py"):
        return ["python", script]
    raise Unsure("how it is started can't be told: write it into a Procfile, such as `web: python serve.py`")


def _django(folder: Folder, *, gunicorn: bool, uvicorn: bool) -> Sequence[str]:
    places = folder.named(r"\w+/(wsgi|asgi)\.py")
    if not places:
        raise Unsure(
            "there is a manage.py, and no wsgi.py in a folder beside it: write a Procfile with `web`"
        )
    package = places[0].partition("/")[0]
    if gunicorn:
        return ["gunicorn", f"{package}.wsgi", "--bind", f"0.0.0.0:{_PORT}"]
    return _served(f"{package}.asgi:application", "ASGI", gunicorn=False, uvicorn=uvicorn)


def _served(module: str, kind: str, *, gunicorn: bool, uvicorn: bool) -> Sequence[str]:
    if kind == "ASGI" and uvicorn:
        return ["uvicorn", module, "--host", "0.0.0.0", "--port", str(_PORT)]  # noqa: S104 - in its container
    if kind == "WSGI" and gunicorn:
        return ["gunicorn", module, "--bind", f"0.0.0.0:{_PORT}"]
    wanted = "uvicorn" if kind == "ASGI" else "gunicorn"
    raise Unsure(f"{module} needs a server: add {wanted} to what it needs, or write a Procfile with `web`")
