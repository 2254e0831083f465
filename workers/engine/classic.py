"""Docker's classic builder through the SDK, as a program of its own that can be killed at any moment.

Speaks as much of the docker CLI's language as `buildkit.py` uses. Logins come by DOCKER_CONFIG.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable
from typing import Any

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException
from docker.utils import kwargs_from_env

_TIMEOUT = 3600  # seconds of silence


def main(argv: list[str]) -> int:
    """`build`, `push REFERENCE` or `pull REFERENCE`; returns the exit code."""
    arguments = _parser().parse_args(argv)
    try:
        client = docker.APIClient(
            **kwargs_from_env(environment=dict(os.environ)), version="auto", timeout=_TIMEOUT
        )
        return _print(arguments.run(client, arguments))
    except APIError as error:
        _say(f"ERROR: {error.explanation or error}\n")
    except DockerException as error:
        _say(f"ERROR: Cannot connect to the Docker daemon: {error}\n")
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        _say(f"ERROR: Cannot connect to the Docker daemon any more: {error}\n")
    except (OSError, TypeError) as error:
        _say(f"ERROR: {error}\n")
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="workers.engine.classic")
    verbs = parser.add_subparsers(required=True)
    build = verbs.add_parser("build")
    build.add_argument("-f", dest="dockerfile", required=True)
    build.add_argument("-t", dest="tag", required=True)
    build.add_argument("--target")
    build.add_argument("--build-arg", dest="args", action="append", default=[])
    build.add_argument("--label", dest="labels", action="append", default=[])
    build.add_argument("context")
    build.set_defaults(run=_build)
    for name, run in (("push", _push), ("pull", _pull)):
        verb = verbs.add_parser(name)
        verb.add_argument("reference")
        verb.set_defaults(run=run)
    return parser


def _build(client: docker.APIClient, given: argparse.Namespace) -> Iterable[dict[str, Any]]:
    events: Iterable[dict[str, Any]] = client.build(
        path=given.context,
        dockerfile=given.dockerfile,
        tag=given.tag,
        target=given.target or "",
        buildargs=dict(item.split("=", 1) for item in given.args),
        labels=dict(item.split("=", 1) for item in given.labels),
        rm=True,
        forcerm=True,
        decode=True,
    )
    return events


def _push(client: docker.APIClient, given: argparse.Namespace) -> Iterable[dict[str, Any]]:
    events: Iterable[dict[str, Any]] = client.push(given.reference, stream=True, decode=True)
    return events


def _pull(client: docker.APIClient, given: argparse.Namespace) -> Iterable[dict[str, Any]]:
    events: Iterable[dict[str, Any]] = client.pull(given.reference, stream=True, decode=True)
    return events


def _print(events: Iterable[dict[str, Any]]) -> int:
    for event in events:
        if "error" in event:
            _say(f"ERROR: {event['error']}\n")
            return 1
        if "stream" in event:
            _say(event["stream"])
        elif "status" in event and "progressDetail" not in event:
            _say(f"{event.get('id', '')} {event['status']}".strip() + "\n")
    return 0


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
