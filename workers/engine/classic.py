"""Docker's classic builder through the SDK, as a program of its own that can be killed at any moment.

Speaks as much of the docker CLI's language as `cli.py` uses. Logins come by DOCKER_CONFIG.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
import time
from collections.abc import Iterable
from typing import Any

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException, NotFound
from docker.utils import kwargs_from_env

from workers.engine.progress import OUT_OF_MEMORY

_TIMEOUT = 3600  # seconds of silence
_ASKING = 5  # seconds for an answer that is there at once
_LOOK = 0.1  # seconds between two looks at a container
_PERIOD = 100_000  # microseconds, the kernel's own
_RUNNING = re.compile(r" ---> Running in ([0-9a-f]{12})\n?")


def main(argv: list[str]) -> int:
    """`build`, `settle`, `push REFERENCE`, `pull REFERENCE` or `rmi REFERENCE`; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        code: int = arguments.run(_client(_TIMEOUT), arguments)
    except APIError as error:
        _say(f"ERROR: {error.explanation or error}\n")
    except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError) as error:
        _say(f"ERROR: Cannot connect to the Docker daemon: {error}\n")
    except (OSError, TypeError) as error:
        _say(f"ERROR: {error}\n")
    else:
        return code
    return 1


def _client(timeout: int) -> docker.APIClient:
    settings = kwargs_from_env(environment=dict(os.environ))
    return docker.APIClient(**settings, version="auto", timeout=timeout)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="workers.engine.classic", allow_abbrev=False)
    verbs = parser.add_subparsers(required=True)
    build = verbs.add_parser("build")
    build.add_argument("-f", dest="dockerfile", required=True)
    build.add_argument("-t", dest="tag", required=True)
    build.add_argument("--target")
    build.add_argument("--platform")
    build.add_argument("--build-arg", dest="args", action="append", default=[])
    build.add_argument("--label", dest="labels", action="append", default=[])
    build.add_argument("--pull", action="store_true")
    build.add_argument("--no-cache", action="store_true")
    build.add_argument("--cache-from", dest="kin", action="append", default=[])
    build.add_argument("--memory", type=int)
    build.add_argument("--cpus", type=float)
    build.add_argument("context")
    build.set_defaults(run=_build)
    settle = verbs.add_parser("settle")
    settle.add_argument("--since", type=float, required=True)
    settle.add_argument("--container")
    settle.add_argument("--tag", required=True)
    settle.add_argument("images", nargs="*")
    settle.set_defaults(run=_settle)
    for name, run in (("push", _push), ("pull", _pull), ("rmi", _rmi)):
        verb = verbs.add_parser(name)
        verb.add_argument("reference")
        verb.set_defaults(run=run)
    return parser


def _build(client: docker.APIClient, given: argparse.Namespace) -> int:
    if given.cpus:  # the SDK knows these two parameters of containers only
        client.params = {"cpuperiod": _PERIOD, "cpuquota": round(given.cpus * _PERIOD)}
    began = time.time()
    events = client.build(
        path=given.context,
        dockerfile=given.dockerfile,
        tag=given.tag,
        target=given.target or "",
        platform=given.platform,
        buildargs=dict(_argument(item) for item in given.args),
        labels=dict(item.split("=", 1) for item in given.labels),
        container_limits={"memory": given.memory, "memswap": given.memory} if given.memory else {},
        pull=given.pull,
        nocache=given.no_cache,
        cache_from=given.kin,
        rm=True,
        forcerm=True,
        decode=True,
    )
    container = _Container()
    error = _print(events, container)
    if error is None:
        return 0
    if _ran_out_of_memory(client, began, container.id):
        _say(f"ERROR: {OUT_OF_MEMORY}\n")
    # An engine that is told to stop kills a step, as if it had failed, when it takes no more questions.
    _client(_ASKING).ping()
    _say(f"ERROR: {error}\n")
    return 1


def _argument(item: str) -> tuple[str, str]:
    """As with docker's own command, one without a value has it in the environment."""
    name, given, value = item.partition("=")
    return name, value if given else os.environ.get(name, "")


def _ran_out_of_memory(client: docker.APIClient, began: float, container: str) -> bool:
    times: Any = {
        "since": f"{began:.3f}",
        "until": f"{time.time():.3f}",
    }  # the SDK would cut off the fractions
    events = client.events(decode=True, filters={"event": "oom"}, **times)
    return any(str(event.get("id", ""))[:12] == container for event in events)


def _settle(client: docker.APIClient, given: argparse.Namespace) -> int:
    """Wait until a cancelled build's container is gone, which may become an image first; remove its images.

    `images` are what the build is known to have made, oldest first. Its output told them, which is what a
    Dockerfile likes: nothing is removed that has another name than its tag, or is older than the build.
    """
    while given.container and _has(client, given.container):
        time.sleep(_LOOK)
    with contextlib.suppress(NotFound):
        client.remove_image(given.tag, noprune=True)
    known = set(given.images)
    young = [image for image in client.images(all=True) if image["Created"] >= int(given.since)]
    last = given.images[-1] if given.images else None
    doomed = [
        image
        for image in young
        if _short(image["Id"]) in known
        or (last and _short(image.get("ParentId", "")) == last)
        or (given.container and _made_from(client, image["Id"], given.container))
    ]
    for image in sorted(doomed, key=lambda image: -image["Created"]):
        if not _named(image):
            with contextlib.suppress(APIError):  # another build has gone on from it
                client.remove_image(image["Id"], noprune=True)
    return 0


def _has(client: docker.APIClient, container: str) -> bool:
    try:
        client.inspect_container(container)
    except NotFound:
        return False
    return True


def _made_from(client: docker.APIClient, image: str, container: str) -> bool:
    """Whether it is what that container became. Docker tells so before API version 1.45."""
    try:
        found: dict[str, Any] = client.inspect_image(image)  # type: ignore[no-untyped-call]
        return str(found.get("Container", "")).startswith(container)
    except NotFound:
        return False


def _named(image: dict[str, Any]) -> bool:
    names = [*(image.get("RepoTags") or []), *(image.get("RepoDigests") or [])]
    return any(not name.startswith("<none>") for name in names)


def _short(image: str) -> str:
    return image.removeprefix("sha256:")[:12]


def _push(client: docker.APIClient, given: argparse.Namespace) -> int:
    return _told(_print(client.push(given.reference, stream=True, decode=True)))


def _pull(client: docker.APIClient, given: argparse.Namespace) -> int:
    return _told(_print(client.pull(given.reference, stream=True, decode=True)))


def _rmi(client: docker.APIClient, given: argparse.Namespace) -> int:
    client.remove_image(given.reference)
    return 0


def _told(error: str | None) -> int:
    if error is None:
        return 0
    _say(f"ERROR: {error}\n")
    return 1


class _Container:
    """The one of the step that ran last."""

    id = ""

    def read(self, text: str) -> None:
        if found := _RUNNING.fullmatch(text):
            self.id = found[1]


def _print(events: Iterable[dict[str, Any]], container: _Container | None = None) -> str | None:
    """The error that ended it."""
    for event in events:
        if "error" in event:
            return str(event["error"])
        if "stream" in event:
            if container is not None:
                container.read(event["stream"])
            _say(event["stream"])
        elif "status" in event and "progressDetail" not in event:
            _say(f"{event.get('id', '')} {event['status']}".strip() + "\n")
    return None


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
