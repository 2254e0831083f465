# ruff: noqa: E501
from __future__ import annotations

import pytest

from config.registries import IDENTITY_TOKEN
from workers.contract.messages import Fault, RegistryLogin
from workers.engine.login import merged
from workers.engine.progress import Progress, digest_in, transfer_failure

OLD = """\
#5 [3/3] RUN echo two && exit 2
#5 sha256:1f3ba623
#5 0.291 two
#5 ERROR: executor failed running [/bin/sh -c echo two && exit 2]: exit code: 2
------
 > [3/3] RUN echo two && exit 2:
------
executor failed running [/bin/sh -c echo two && exit 2]: exit code: 2
"""
BUILDX = """\
#6 [builder 3/4] RUN make
#6 0.1 not found: connection refused, unauthorized
#6 ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 2
------
 > [builder 3/4] RUN make:
------
Dockerfile:3
--------------------
ERROR: failed to build: failed to solve: process "/bin/sh -c make" did not complete successfully: exit code: 2
"""
CLASSIC = """\
Step 1/2 : FROM base
Step 2/2 : RUN make
ERROR: The command '/bin/sh -c make' returned a non-zero code: 137
"""
NO_BASE = """\
#2 [internal] load metadata for docker.io/library/nope:1
#2 ERROR: pull access denied, repository does not exist or may require authorization: server message: denied
------
 > [internal] load metadata for docker.io/library/nope:1:
------
ERROR: failed to solve: nope:1: failed to resolve source metadata for docker.io/library/nope:1: pull access denied
"""
HUB_DOWN = """\
#2 [internal] load metadata for docker.io/library/alpine:3
#2 ERROR: failed to do request: Head "https://registry-1.docker.io/v2/library/alpine/manifests/3": dial tcp: \
lookup registry-1.docker.io: no such host
------
"""
HUB_5XX = """\
#2 [internal] load metadata for docker.io/library/alpine:3
#2 ERROR: unexpected status from HEAD request to https://registry-1.docker.io/v2/: 503 Service Unavailable
"""
COPY = """\
#4 [2/3] COPY missing /x
#4 ERROR: failed to calculate checksum of ref abc: "/missing": not found
------
ERROR: failed to solve: failed to compute cache key: failed to calculate checksum of ref abc: "/missing": not found
"""
PARSE = "ERROR: failed to solve: dockerfile parse error on line 2: unknown instruction: FORM (did you mean FROM?)\n"
NO_FILE = "ERROR: failed to solve: failed to read dockerfile: open Dockerfile: no such file or directory\n"
GONE = "ERROR: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?\n"
CLASSIC_NO_BASE = """\
Step 1/2 : FROM nope:1
ERROR: pull access denied for nope, repository does not exist or may require 'docker login': denied
"""
FULL = "ERROR: failed to solve: write /var/lib/docker/x: no space left on device\n"
FULL_IN_A_STEP = """\
#6 [2/2] RUN dd if=/dev/zero of=/x
#6 0.512 dd: error writing '/x': No space left on device
#6 ERROR: executor failed running [/bin/sh -c dd if=/dev/zero of=/x]: exit code: 1
"""


@pytest.mark.parametrize(
    ("said", "fault", "reason", "words"),
    [
        (OLD, Fault.USER, "build_failed", "Dockerfile step [3/3] RUN echo two && exit 2: exit code 2"),
        (BUILDX, Fault.USER, "build_failed", "Dockerfile step [builder 3/4] RUN make: exit code 2"),
        (CLASSIC, Fault.USER, "build_failed", "[2/2] RUN make: exit code 137 (killed: out of memory?)"),
        (NO_BASE, Fault.USER, "base_image_missing", "Base image docker.io/library/nope:1 cannot be pulled"),
        (CLASSIC_NO_BASE, Fault.USER, "base_image_missing", "Base image nope cannot be pulled"),
        (HUB_DOWN, Fault.OURS, "registry_unreachable", "no such host"),
        (HUB_5XX, Fault.OURS, "registry_unreachable", "503"),
        (COPY, Fault.USER, "build_failed", 'step [2/3] COPY missing /x: failed to calculate'),
        (PARSE, Fault.USER, "build_failed", "The build failed: dockerfile parse error on line 2"),
        (NO_FILE, Fault.USER, "dockerfile_missing", "There is no Dockerfile"),
        (GONE, Fault.OURS, "engine_gone", "went away"),
        (FULL, Fault.OURS, "disk_full", "disk is full"),
        (FULL_IN_A_STEP, Fault.OURS, "disk_full", "disk is full"),
        ("", Fault.OURS, "build_broken", "exit code 1"),
    ],
)  # fmt: skip
def test_a_failed_build_says_whose_fault_it_is_and_where(
    said: str, fault: Fault, reason: str, words: str
) -> None:
    progress = Progress()
    for line in said.splitlines(keepends=True):
        progress.feed(line)
    failure = progress.failure(1, "Dockerfile")
    assert (failure.fault, failure.reason) == (fault, reason)
    assert words in failure.sentence


@pytest.mark.parametrize(
    ("said", "fault", "reason"),
    [
        ("unauthorized: authentication required", Fault.FINAL, "registry_denied"),
        ("denied: requested access to the resource is denied", Fault.FINAL, "registry_denied"),
        ("received unexpected HTTP status: 502 Bad Gateway", Fault.OURS, "registry_unreachable"),
        ("dial tcp 1.2.3.4:443: connect: connection refused", Fault.OURS, "registry_unreachable"),
        ("net/http: TLS handshake timeout", Fault.OURS, "registry_unreachable"),
        ("toomanyrequests: You have reached your pull rate limit", Fault.OURS, "registry_unreachable"),
        ("manifest for x@sha256:0 not found: manifest unknown", Fault.FINAL, "image_missing"),
        ("something new", Fault.OURS, "push_failed"),
        ("", Fault.OURS, "push_failed"),
    ],
)
def test_a_failed_push_says_whose_fault_it_is(said: str, fault: Fault, reason: str) -> None:
    failure = transfer_failure("push", "ghcr.io/acme/shop:1", said)
    assert (failure.fault, failure.reason) == (fault, reason)


def test_the_digest_of_a_push_is_read() -> None:
    assert digest_in(f"latest: digest: sha256:{'a' * 64} size: 528\n") == f"sha256:{'a' * 64}"
    assert digest_in("nothing") is None


def test_a_grants_login_wins_over_the_users_own_and_its_credential_store() -> None:
    own = {"auths": {"a": {"auth": "x"}, "b": {"auth": "y"}}, "credsStore": "desktop", "proxies": {}}
    config = merged(own, [RegistryLogin(host="a", username="u", password="p")])
    assert config["auths"] == {"a": {"auth": "dTpw"}, "b": {"auth": "y"}}
    assert config["credHelpers"] == {"a": ""}
    assert config["proxies"] == {}


def test_docker_hubs_login_has_the_name_that_docker_looks_for() -> None:
    config = merged({}, [RegistryLogin(host="docker.io", username="u", password="p")])
    assert list(config["auths"]) == ["https://index.docker.io/v1/"]


def test_an_identity_token_is_no_password() -> None:
    config = merged({}, [RegistryLogin(host="acme.azurecr.io", username=IDENTITY_TOKEN, password="t")])
    assert config["auths"] == {"acme.azurecr.io": {"identitytoken": "t"}}
