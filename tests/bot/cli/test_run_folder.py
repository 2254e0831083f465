"""What `blacktree run` takes a folder for, before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest

from bot.cli.run import _config
from config.errors import ConfigError


def test_a_compose_file_is_what_a_folder_says_and_what_is_left_out_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "compose.yaml").write_text("services: {app: {build: ., ports: ['8080:80']}}")

    assert _config(tmp_path).environments["production"].processes["web"].port == 80
    assert "no port 8080 is opened" in capsys.readouterr().err


def test_a_folder_without_a_dockerfile_is_taken_where_one_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"neither a Dockerfile nor a \.blacktree\.yml, and what kind of"):
        _config(tmp_path)

    (tmp_path / "index.html").write_text("hello")
    assert {*_config(tmp_path).images} == {"app"}
