"""An OCI registry that asks for a password, as production's does."""

from __future__ import annotations

import json
import os
import shutil
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import unquote, urlsplit

import httpx2

from tests.parts.part import Part, require

_USERNAME, _PASSWORD = "blacktree", "correct-horse-battery-staple"
# bcrypt of the password, the one form that the registry reads: made once with perl's crypt(), cost 5.
_HASH = "$2y$05$abcdefghijklmnopqrstuu85MXjg6exOQL.AXFImpsqFFSBHJgLRe"
_CONFIG = """\
version: 0.1
log: {{level: warn, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {folder}/images}}
  delete: {{enabled: true}}
auth: {auth}
http: {http}
"""
_MANIFESTS = ", ".join(
    [
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    ]
)


class Registry(Part):
    """docker-registry, empty at the first start. An engine trusts `localhost` without TLS."""

    name = "registry"

    @classmethod
    def from_environment(cls) -> Self:
        return cls(os.environ.get("BLACKTREE_TEST_REGISTRY"))

    @property
    def address(self) -> str:
        """host:port, the first part of an image's name."""
        return (
            urlsplit(self.external).netloc.rpartition("@")[2] if self.external else f"localhost:{self.port}"
        )

    @property
    def url(self) -> str:
        scheme = urlsplit(self.external).scheme if self.external else "http"
        return f"{scheme}://{self.address}"

    @property
    def username(self) -> str:
        return unquote(urlsplit(self.external).username or "") if self.external else _USERNAME

    @property
    def password(self) -> str:
        return unquote(urlsplit(self.external).password or "") if self.external else _PASSWORD

    def prepare(self, folder: Path) -> None:
        # JSON is YAML too.
        auth, http = json.dumps(self.auth()), json.dumps(self.http())
        (folder / "config.yml").write_text(_CONFIG.format(folder=folder, auth=auth, http=http))
        (folder / "htpasswd").write_text(f"{self.username}:{self.hashed()}\n")

    def auth(self) -> dict[str, Any]:
        """How it knows people, as its configuration has it."""
        return {"htpasswd": {"realm": "blacktree", "path": f"{self.folder}/htpasswd"}}

    def http(self) -> dict[str, Any]:
        """Where it listens, likewise."""
        return {"addr": f"127.0.0.1:{self.port}", "secret": "blacktree"}

    def hashed(self) -> str:
        """Its password as htpasswd has it."""
        return _HASH

    def trust(self) -> ssl.SSLContext | bool:
        """By what its certificate is checked."""
        return True

    def command(self) -> Sequence[str]:
        program = require(shutil.which("docker-registry"), self.name)
        return [program, "serve", str(self.folder / "config.yml")]

    def ready(self) -> bool:
        try:
            return self.get("/v2/").status_code == 200
        except httpx2.TransportError:
            return False

    def get(self, path: str, method: str = "GET") -> httpx2.Response:
        """An authenticated request; `path` starts with /v2/."""
        return httpx2.request(
            method,
            self.url + path,
            auth=(self.username, self.password),
            headers={"Accept": _MANIFESTS},
            verify=self.trust(),
            timeout=60,
        )

    def tags(self, repository: str) -> list[str]:
        """Sorted; empty where the repository does not exist."""
        answer = self.get(f"/v2/{repository}/tags/list")
        return [] if answer.status_code == 404 else sorted(answer.raise_for_status().json()["tags"] or [])

    def digest(self, repository: str, tag: str) -> str | None:
        """sha256:… of the manifest that the tag names; None where there is none."""
        answer = self.get(f"/v2/{repository}/manifests/{tag}", "HEAD")
        return (
            None if answer.status_code == 404 else answer.raise_for_status().headers["Docker-Content-Digest"]
        )

    def manifest(self, repository: str, reference: str) -> dict[str, Any]:
        """The manifest of a tag or digest."""
        found: dict[str, Any] = json.loads(
            self.get(f"/v2/{repository}/manifests/{reference}").raise_for_status().content
        )
        return found
