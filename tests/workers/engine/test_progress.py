# ruff: noqa: E501
from __future__ import annotations

import pytest

from config.registries import IDENTITY_TOKEN
from workers.contract.messages import Fault, RegistryLogin
from workers.engine.blame import transfer_failure
from workers.engine.login import merged
from workers.engine.progress import Progress, digest_in

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
NO_CACHE = """\
#6 importing cache manifest from localhost:5000/acme/shop:cache
#6 ERROR: localhost:5000/acme/shop:cache: not found
#7 [2/2] RUN make
#7 ERROR: process "/bin/sh -c make" did not complete successfully: exit code: 4
"""
SPEAKING = """\
#5 [2/2] RUN echo "exit code: 3"; exit 4
#5 ERROR: process "/bin/sh -c echo \\"exit code: 3\\"; exit 4" did not complete successfully: exit code: 4
"""
NO_SECRET = """\
#5 [2/2] RUN --mount=type=secret,id=TOKEN,required make
#5 ERROR: secret TOKEN not found: not found
------
ERROR: failed to solve: secret TOKEN not found: not found
"""
NO_AGENT = """\
#5 [2/2] RUN --mount=type=ssh,required git clone
#5 ERROR: unset ssh forward key default
"""
NO_EMULATOR = """\
#5 [2/2] RUN make
#5 0.2 exec /bin/sh: exec format error
#5 ERROR: failed to solve: runc run failed: exec /bin/sh: exec format error
"""
NO_PLATFORM = """\
#2 [internal] load metadata for docker.io/library/alpine:3
#2 ERROR: no match for platform in manifest sha256:abc: not found
"""
OTHER_PLATFORM = """\
#2 [internal] load metadata for docker.io/acme/base:1
#2 ERROR: no matching manifest for linux/arm64/v8 in the manifest list entries
"""
CLASSIC_PLATFORM = """\
Step 1/2 : FROM acme/base:1
ERROR: image with reference acme/base:1 was found but does not match the specified platform: wanted linux/arm64
"""
FRONTEND_GONE = """\
#3 resolve image config for docker.io/docker/dockerfile:1
#3 DONE 0.1s
ERROR: failed to solve: frontend grpc server closed unexpectedly
"""
NO_FRONTEND = """\
#4 docker-image://docker.io/library/busybox:1
#4 CACHED
ERROR: failed to solve: rpc error: code = Unknown desc = failed to solve with frontend dockerfile.v0: failed to solve with frontend gateway.v0: exit code: 1
"""
TOKEN_REFUSED = """\
#2 [internal] load metadata for ghcr.io/acme/base:1
#2 ERROR: failed to authorize: failed to fetch oauth token: unexpected status from GET request to https://ghcr.io/token?scope=repository%3Aacme%2Fbase%3Apull&service=ghcr.io: 403 Forbidden: denied
"""
TOKEN_OF_NOBODY = """\
#2 [internal] load metadata for ghcr.io/acme/base:1
#2 ERROR: failed to authorize: failed to fetch anonymous token: unexpected status from GET request to https://ghcr.io/token?scope=x: 401 Unauthorized
"""
TOKENS_DOWN = TOKEN_REFUSED.replace("403 Forbidden: denied", "503 Service Unavailable")
CLASSIC_LOGIN = """\
Step 1/2 : FROM acme/base:1
ERROR: Get https://registry-1.docker.io/v2/: unauthorized: incorrect username or password
"""
LIMITED = """\
#2 [internal] load metadata for docker.io/library/alpine:3
#2 ERROR: failed to copy: httpReadSeeker: failed open: unexpected status code 429 Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit. You may increase the limit by authenticating
"""
PLAIN = """\
#2 [internal] load metadata for registry.corp:5000/base:1
#2 ERROR: failed to do request: Head "https://registry.corp:5000/v2/base/manifests/1": http: server gave HTTP response to HTTPS client
"""
KILLED = "#5 [2/2] RUN make\n#5 0.2 working\n"
BUILDX_GONE = (
    KILLED + "ERROR: failed to receive status: rpc error: code = Unavailable desc = error reading: EOF\n"
)
OWN_GONE = KILLED + "unexpected EOF\n"
CLASSIC_GONE = """\
Step 2/2 : RUN make
 ---> Running in 8a1b2c3d4e5f
ERROR: Cannot connect to the Docker daemon: ('Connection aborted.', ConnectionRefusedError(111, 'refused'))
"""
CLASSIC_MEMORY = """\
Step 2/2 : RUN make
 ---> Running in 8a1b2c3d4e5f
ERROR: out of memory
ERROR: The command '/bin/sh -c make' returned a non-zero code: 2
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
        (NO_CACHE, Fault.USER, "build_failed", "Dockerfile step [2/2] RUN make: exit code 4"),
        (SPEAKING, Fault.USER, "build_failed", "exit 4: exit code 4"),
        (NO_SECRET, Fault.USER, "secret_missing", "secret TOKEN not found: not found: name it under `secrets`"),
        (NO_AGENT, Fault.USER, "secret_missing", "unset ssh forward key default: name it under"),
        (NO_EMULATOR, Fault.USER, "build_failed", "install an emulator on the worker"),
        (NO_PLATFORM, Fault.USER, "base_image_missing", "docker.io/library/alpine:3 is not made for that platform"),
        (OTHER_PLATFORM, Fault.USER, "base_image_missing", "docker.io/acme/base:1 is not made for that platform: take another"),
        (CLASSIC_PLATFORM, Fault.USER, "base_image_missing", "Base image acme/base:1 is not made for that platform"),
        (FRONTEND_GONE, Fault.OURS, "frontend_gone", "check that it is one that reads Dockerfiles"),
        (NO_FRONTEND, Fault.USER, "build_failed", "`# syntax=` cannot read it: exit code: 1"),
        (TOKEN_REFUSED, Fault.FINAL, "registry_denied", "Base image ghcr.io/acme/base:1 cannot be reached: its registry refuses"),
        (TOKEN_OF_NOBODY, Fault.USER, "base_image_missing", "Base image ghcr.io/acme/base:1 cannot be pulled"),
        (TOKENS_DOWN, Fault.OURS, "registry_unreachable", "A registry did not answer"),
        (CLASSIC_LOGIN, Fault.FINAL, "registry_denied", "refuses this worker's login"),
        (LIMITED, Fault.FINAL, "registry_limited", "docker.io/library/alpine:3 cannot be pulled: Docker Hub's pull limit"),
        (PLAIN, Fault.FINAL, "registry_untrusted", "insecure-registries"),
        (BUILDX_GONE, Fault.OURS, "engine_gone", "went away"),
        (OWN_GONE, Fault.OURS, "engine_gone", "went away"),
        (CLASSIC_GONE, Fault.OURS, "engine_gone", "went away"),
        (CLASSIC_MEMORY, Fault.USER, "build_failed", "RUN make: exit code 2 (out of memory: raise limits.memory)"),
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
        ("toomanyrequests: You have reached your pull rate limit", Fault.FINAL, "registry_limited"),
        ("toomanyrequests: Rate exceeded", Fault.OURS, "registry_unreachable"),
        ("error parsing HTTP 413 response body: invalid character '<'", Fault.FINAL, "registry_refused"),
        ("unexpected status: 413 Request Entity Too Large", Fault.FINAL, "registry_refused"),
        ("http: server gave HTTP response to HTTPS client", Fault.FINAL, "registry_untrusted"),
        (
            "no matching manifest for linux/arm64/v8 in the manifest list entries",
            Fault.USER,
            "wrong_platform",
        ),
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


def test_a_builder_that_is_killed_is_not_the_users_fault() -> None:
    failure = read(KILLED).failure(-9, "Dockerfile")
    assert (failure.fault, failure.reason) == (Fault.OURS, "builder_killed")


def test_a_build_that_met_its_limit_says_what_to_raise() -> None:
    failure = read(BUILDX).failure(1, "Dockerfile", out_of_memory=True)
    assert failure.sentence.endswith("RUN make: exit code 2 (out of memory: raise limits.memory)")


BUILDX_DONE = """\
#0 building with "default" instance using docker driver

#1 [internal] load build definition from Dockerfile
#1 DONE 0.0s

#4 [one 1/5] FROM docker.io/library/alpine:3@sha256:abc
#4 CACHED

#5 [internal] load build context
#5 transferring context: 279B done
#5 DONE 1.5s

#6 [one 2/5] WORKDIR /src
#6 CACHED

#7 [one 3/5] RUN make
#7 0.182 #6 ERROR: printed by the step
#7 0.190 [4/9] RUN not a step
#7 DONE 12.5s

#8 [linux/amd64 one 4/5] COPY . /x
#8 DONE 0.1s

#9 exporting to image
#9 exporting layers 2.1s done
#9 DONE 2.2s
"""
OWN_DONE = """\
#5 [1/3] FROM docker.io/library/alpine:3
#5 sha256:7f80ec079144af68c77dc39b7775fe3403d9299fa344f838f707063f95f3a3e9
#5 DONE 0.0s

#6 [2/3] RUN make
#6 sha256:62da1b55a2d019d2ad96142c57c5d768b1286536a55e6e8a509d2950486c8535
#6 0.198 hi

#7 [internal] load build context
#7 DONE 0.0s

#6 [2/3] RUN make
#6 DONE 3.0s

#8 [3/3] COPY . /
#8 sha256:8edbb9795915d04d561dd5ab2aa6b03129f5b002c8d589e694e354de7cd7287b
#8 CACHED
"""
CLASSIC_DONE = """\
Step 1/4 : FROM alpine:3
 ---> 94bfd6ef1bd8
Step 2/4 : COPY . /
 ---> Using cache
 ---> 4ab9defffd37
Step 3/4 : ENV A=b
 ---> Running in 04ad8a9bf308
Removing intermediate container 04ad8a9bf308
 ---> 52d6b10ba1b0
Step 4/4 : RUN make
 ---> Running in 04ad8a9bf309
Step by step
Removing intermediate container 04ad8a9bf309
 ---> 605a527e42b4
Successfully built 605a527e42b4
"""


def read(said: str) -> Progress:
    """Progress that has read that, by a clock that is a second further at each look."""
    progress = Progress(now=iter(range(1000)).__next__)
    for line in said.splitlines(keepends=True):
        progress.feed(line)
    return progress


@pytest.mark.parametrize(
    ("said", "layers", "cached", "table"),
    [
        (
            BUILDX_DONE, 3, 1,
            "1 of 3 layers from cache\n"
            "   12.5 s  [one 3/5] RUN make\n"
            "    2.2 s  exporting to image\n"
            "    1.5 s  [internal] load build context\n"
            "    0.1 s  [linux/amd64 one 4/5] COPY . /x\n"
            "   cached  [one 1/5] FROM docker.io/library/alpine:3@sha256:abc\n",
        ),
        (OWN_DONE, 2, 1, "1 of 2 layers from cache\n    3.0 s  [2/3] RUN make\n   cached  [3/3] COPY . /\n"),
        (
            CLASSIC_DONE, 2, 1,
            "1 of 2 layers from cache\n"
            "    1.0 s  [1/4] FROM alpine:3\n"
            "    1.0 s  [3/4] ENV A=b\n"
            "    1.0 s  [4/4] RUN make\n"
            "   cached  [2/4] COPY . /\n",
        ),
        ("", 0, 0, ""),
    ],
)  # fmt: skip
def test_layers_are_counted_and_the_slowest_steps_listed(
    said: str, layers: int, cached: int, table: str
) -> None:
    progress = read(said)
    assert (progress.layers, progress.cached, progress.table()) == (layers, cached, table)


def test_the_classic_builders_leftovers_are_known() -> None:
    progress = read(CLASSIC_DONE.partition("Removing intermediate container 04ad8a9bf309")[0])
    assert (progress.container, progress.images) == ("04ad8a9bf309", ["52d6b10ba1b0"])


def test_an_image_is_being_made_until_the_engine_gives_up() -> None:
    assert not read(KILLED).exporting
    assert read(BUILDX_DONE).exporting
    assert not read("#9 exporting to image\n#9 exporting layers\n#9 CANCELED\n").exporting


def test_the_rest_of_a_long_line_is_no_line() -> None:
    progress = Progress()
    for piece in (
        "#5 [2/2] RUN make\n",
        "#5 0.1 " + "x" * 100,
        "#5 ERROR: exit code: 3",
        "\n",
        "#5 DONE 1.0s\n",
    ):
        progress.feed(piece)
    assert progress.layers == 1
    assert progress.failure(1, "Dockerfile").reason == "build_broken"


def test_an_identity_token_is_no_password() -> None:
    config = merged({}, [RegistryLogin(host="acme.azurecr.io", username=IDENTITY_TOKEN, password="t")])
    assert config["auths"] == {"acme.azurecr.io": {"identitytoken": "t"}}
