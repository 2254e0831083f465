"""healthchecks: Django with uWSGI, `sendalerts` as a worker of its own, PostgreSQL."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import httpx2

from tests.apps.app import Edit

_KEY = "k" * 32  # what its API is asked with
_TOLD = "5f0e7f0c-6f0d-4c5e-9a3e-0d1f5b8f2a11"  # a check that is pinged by the worker alone

_SETUP = f"""\
import json
from django.contrib.auth.models import User
from hc.accounts.models import Profile, Project
from hc.api.models import Channel, Check
ada = User.objects.create_user("ada", "ada@example.org", "correct horse battery staple")
Profile.objects.for_user(ada)
project = Project.objects.create(owner=ada, api_key="{_KEY}", badge_key="proof")
Check.objects.create(project=project, name="told", code="{_TOLD}")
spec = {{"method_down": "GET", "url_down": "http://web:8000/ping/{_TOLD}"}}
spec |= {{"body_down": "", "headers_down": {{}}}}
spec |= {{"method_up": "GET", "url_up": "", "body_up": "", "headers_up": {{}}}}
Channel.objects.create(project=project, kind="webhook", value=json.dumps(spec))
"""

_INDENTED = _SETUP.replace("\n", "\n          ").rstrip()

_FILE = f"""\
x-shared:
  env: &env
    DB: postgres
    DB_HOST: db
    DB_NAME: hc
    DB_USER: hc
    DEBUG: "False"
    SECRET_KEY: only-for-this-proof
    ALLOWED_HOSTS: "*"
    INTEGRATIONS_ALLOW_PRIVATE_IPS: "True"
  processes: &processes
    web:
      port: 8000
      health: {{path: /api/v3/status/, status: 200}}
      # Their uwsgi.ini without the daemons, each of which is a process here.
      command: >-
        uwsgi --strict --master --die-on-term --http-socket :8000 --processes 2 --enable-threads --threads 1
        --buffer-size 32768 --post-buffering 16192 --chdir /opt/healthchecks --module hc.wsgi:application
        --thunder-lock --disable-write-exception --max-fd 10000
        --check-static static-collected/ --static-gzip-dir static-collected/CACHE
    worker: {{command: [./manage.py, sendalerts], overlap: false}}
    reports: {{command: [./manage.py, sendreports, --loop], overlap: false}}
  tasks: &tasks
    setup:
      command:
        - ./manage.py
        - shell
        - -c
        - |
          {_INDENTED}
  service: &service
    image: postgres:17
    volumes: {{data: /var/lib/postgresql/data}}
    env: {{POSTGRES_USER: hc, POSTGRES_DB: hc}}
    generate: [POSTGRES_PASSWORD]
    provides: {{DB_PASSWORD: "{{POSTGRES_PASSWORD}}"}}
    healthcheck: [pg_isready, -U, hc, -h, localhost]
  backed: &backed
    <<: *service
    backup:
      cron: "30 2 * * *"
      command: [pg_dump, -U, hc, --clean, --if-exists, hc]
      restore: [psql, -1, -v, ON_ERROR_STOP=1, -U, hc, hc]
  environment: &environment
    release_command: [./manage.py, migrate, --noinput]
    env: *env
    processes: *processes
    tasks: *tasks
images:
  app: {{dockerfile: docker/Dockerfile}}
environments:
  staging: {{<<: *environment, services: {{db: *backed}}}}
  production: {{<<: *environment, on: command, services: {{db: *backed}}}}
  preview: {{<<: *environment, services: {{db: *service}}}}
"""


class Healthchecks:
    """Its API keeps checks; what tells that one is down is its worker."""

    repository = "healthchecks/healthchecks"
    commit = "099f9c38a581df1863d9cb4e9266423cc7d33f18"  # v4.3
    files = MappingProxyType({".blacktree.yml": _FILE})
    edits = (
        Edit(
            "docker/Dockerfile",
            "--start-period=20s --start-interval=5s ",
            "--start-period=20s ",
            "BuildKit of Docker 20.10 does not know start-interval",
        ),
    )
    first = "setup"
    change = Edit("templates/accounts/login.html", "<h1>Log In to", "<h1>Welcome back to")

    async def shows(self, http: httpx2.AsyncClient) -> str:
        return (await http.get("/accounts/login/")).raise_for_status().text

    async def make(self, http: httpx2.AsyncClient, name: str) -> None:
        await self._made(http, name)

    async def kept(self, http: httpx2.AsyncClient) -> set[str]:
        return set(await self._checks(http))

    async def worked(self, http: httpx2.AsyncClient) -> bool:
        """A check fails, the worker tells a webhook, which pings another check."""
        if (await self._checks(http))["told"]["n_pings"] > 0:
            return True
        watched = await self._made(http, "watched")
        if watched["status"] != "down":
            (await http.post(f"/ping/{watched['uuid']}/fail")).raise_for_status()
        return False

    async def _made(self, http: httpx2.AsyncClient, name: str) -> dict[str, Any]:
        asked = {"name": name, "channels": "*", "unique": ["name"]}
        answer = await http.post("/api/v3/checks/", json=asked, headers={"X-Api-Key": _KEY})
        made: dict[str, Any] = answer.raise_for_status().json()
        return made

    async def _checks(self, http: httpx2.AsyncClient) -> dict[str, dict[str, Any]]:
        answer = await http.get("/api/v3/checks/", headers={"X-Api-Key": _KEY})
        return {check["name"]: check for check in answer.raise_for_status().json()["checks"]}


app = Healthchecks()
