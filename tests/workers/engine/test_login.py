"""The docker configuration of one child process: whose logins are in it, and that nothing of it stays."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from workers.contract.messages import RegistryLogin
from workers.engine.login import docker_config, places

OWN = {
    "auths": {"quay.io": {"auth": "b3duOm93bg=="}},
    "credsStore": "desktop",
    "credHelpers": {"gcr.io": "gcloud"},
    "HttpHeaders": {"X-Token": "own"},
    "proxies": {"default": {"httpProxy": "http://proxy.example"}},
}
GIVEN = RegistryLogin(host="ghcr.io", username="ada", password="pw")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "config.json").write_text(json.dumps(OWN))
    return {"DOCKER_CONFIG": str(tmp_path), "HOME": str(tmp_path)}


def written(environ: dict[str, str], logins: list[RegistryLogin], *, stranger: bool) -> dict[str, Any]:
    with docker_config(logins, environ, "blacktree-test-login-", stranger=stranger) as where:
        folder = Path(where["DOCKER_CONFIG"])
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        found: dict[str, Any] = json.loads((folder / "config.json").read_text())
    assert not list(places(environ).glob("blacktree-test-login-*"))
    return found


def test_a_build_has_the_users_logins_and_its_own(environ: dict[str, str]) -> None:
    found = written(environ, [GIVEN], stranger=False)

    assert set(found["auths"]) == {"quay.io", "ghcr.io"}
    assert found["credHelpers"] == {"gcr.io": "gcloud", "ghcr.io": ""}
    assert found["proxies"] == OWN["proxies"]


def test_a_strangers_has_no_login_that_the_machine_has(environ: dict[str, str]) -> None:
    found = written(environ, [], stranger=True)

    assert found == {"auths": {}, "proxies": OWN["proxies"]}
