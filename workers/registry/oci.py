"""Any registry that speaks the OCI distribution protocol: does our login work there?"""

from __future__ import annotations

import re

import httpx2

_TIMEOUT = 10.0  # seconds
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
# Docker takes registries on this machine without TLS: https://docs.docker.com/reference/cli/dockerd/
_PLAIN_HOSTS = re.compile(r"^(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?$")
# Docker Hub's registry has another name than its images.
_DOCKER_HUB = {"docker.io": "registry-1.docker.io", "index.docker.io": "registry-1.docker.io"}


class RegistryError(Exception):
    """The registry does not let us in; the text says why."""


async def log_in(host: str, username: str, password: str) -> None:
    """Prove a login at a registry host, by basic or token authentication. Raises RegistryError."""
    scheme = "http" if _PLAIN_HOSTS.match(host) else "https"
    login = (username, password) if username else None
    try:
        async with httpx2.AsyncClient(timeout=_TIMEOUT) as http:
            answer = await http.get(f"{scheme}://{_DOCKER_HUB.get(host, host)}/v2/")
            challenge = answer.headers.get("www-authenticate", "")
            if answer.status_code == 401 and challenge.lower().startswith("bearer"):
                parts = dict(_CHALLENGE.findall(challenge))
                asked = {"service": parts["service"]} if "service" in parts else {}
                answer = await http.get(parts["realm"], params=asked, auth=login)
            elif answer.status_code == 401:
                answer = await http.get(str(answer.url), auth=login)
    except (httpx2.HTTPError, KeyError) as error:
        cause = str(error) or type(error).__name__
        raise RegistryError(f"{host} does not answer as a registry: {cause}") from None
    if answer.status_code >= 300:
        raise RegistryError(f"{host} refuses the login of {username or 'nobody'}: {answer.status_code}")
