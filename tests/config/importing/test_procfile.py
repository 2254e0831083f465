"""Procfiles, and what they mean here."""

from __future__ import annotations

import pytest

from config.errors import ConfigError
from config.importing.procfile import argv, found

TEXT = """
# how it runs
web: gunicorn shop.wsgi --bind 0.0.0.0:$PORT
mail_worker: celery -A shop worker
release: ./manage.py migrate && ./manage.py warm
"""


def test_each_line_is_a_process_and_release_runs_before() -> None:
    production = found("Procfile", TEXT).repository().environments["production"]

    assert {*production.processes} == {"web", "mail-worker"}
    web = production.processes["web"]
    assert web.command == ["sh", "-c", "exec gunicorn shop.wsgi --bind 0.0.0.0:$PORT"]
    assert (web.port, web.env) == (8080, {"PORT": "8080"})
    assert production.processes["mail-worker"].command == ["celery", "-A", "shop", "worker"]
    assert production.release_command == ["sh", "-c", "./manage.py migrate && ./manage.py warm"]


def test_what_is_called_otherwise_or_missing_is_told() -> None:
    told = "\n".join(found("Procfile", "my_worker: x\n").left_out)

    assert "my_worker: is called my-worker here" in told
    assert "has no `web`" in told


@pytest.mark.parametrize("text", ["", "# nothing", "no colon here"])
def test_a_procfile_without_a_process_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="has no process"):
        found("Procfile", text)


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        ("bin/serve --port 80", ["bin/serve", "--port", "80"]),
        ("A=1 bin/serve", ["sh", "-c", "A=1 bin/serve"]),
        ("bin/serve $A", ["sh", "-c", "exec bin/serve $A"]),
        ("a | b", ["sh", "-c", "a | b"]),
    ],
)
def test_only_what_needs_a_shell_gets_one(command: str, meant: list[str]) -> None:
    assert argv(command) == meant
