"""A question to the engine's API that the SDK has no words for, or answers with more than is wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import docker
import requests
from docker.errors import create_api_error_from_http_exception


@contextmanager
def asked(
    client: docker.DockerClient, path: str, params: Mapping[str, str], patience: float
) -> Iterator[requests.Response]:
    """The answer, of which nothing is read yet. It blocks. Raises APIError."""
    api = client.api
    url = f"{api.base_url}/v{api.api_version}{path}"
    with api.get(url, params=dict(params), stream=True, timeout=patience) as answer:
        try:
            answer.raise_for_status()
        except requests.HTTPError as error:
            create_api_error_from_http_exception(error)
        yield answer
