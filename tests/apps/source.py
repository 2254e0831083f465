"""A project's files at a commit, as its own repository has them; with what was said to be another way."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.apps.app import App

_SYNTAX = ("# syntax=", "#syntax=")  # of a Dockerfile: asks for a frontend that would have to be downloaded


def checked_out(app: App, cache: Path, into: Path, *, offline: bool) -> list[str]:
    """Write the files into a folder; what was done to them. Clones into the cache what that has not yet."""
    mirror = cache / app.repository.replace("/", "+") / "repo"
    if not mirror.exists():
        url = f"https://github.com/{app.repository}.git"
        _run("git", "clone", "--quiet", "--bare", "--filter=blob:none", url, str(mirror))
    archive = into.parent / f"{into.name}.tar"
    _run("git", "-C", str(mirror), "archive", "--output", str(archive), app.commit)
    _run("tar", "-C", str(into), "-xf", str(archive))
    archive.unlink()
    done = [f"without its {line}" for line in _without_syntax(into)] if offline else []
    for name, text in app.files.items():
        done.append(f"with a {name}")
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        (into / name).write_text(text)
    for edit in app.edits:
        (into / edit.file).write_text(edit.done(into))
        done.append(f"{edit.file}: {edit.new!r} instead of {edit.old!r}, since {edit.why}")
    return done


def _without_syntax(folder: Path) -> list[str]:
    gone = []
    for file in sorted(folder.rglob("*Dockerfile*")):
        lines = file.read_text().splitlines(keepends=True) if file.is_file() else []
        if lines and lines[0].startswith(_SYNTAX):
            file.write_text("".join(lines[1:]))
            gone.append(f"{file.relative_to(folder)}: {lines[0].strip()}")
    return gone


def _run(*argv: str) -> None:
    subprocess.run(argv, check=True, timeout=600)
