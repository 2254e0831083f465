"""kutt: Node with Express, Bull at Redis, a clock that removes what has expired, PostgreSQL."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import httpx2

from tests.apps.app import Edit

_ADMIN = {"email": "ada@example.org", "password": "correct horse battery"}
_BROWSER = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"}

_FILE = """\
x-shared:
  env: &env
    DB_CLIENT: pg
    DB_HOST: db
    DB_NAME: kutt
    DB_USER: kutt
    REDIS_ENABLED: true
    REDIS_HOST: cache
    JWT_SECRET: only-for-this-proof
    DEFAULT_DOMAIN: kutt.example.org
    NODE_APP_INSTANCE: 1    # not the first of a cluster: what has expired is the worker's
  processes: &processes
    web:
      port: 3000
      command: [node, server/server.js, --production]
      health: {path: /api/v2/health, status: 200}
    worker: {command: [node, server/cron.js], overlap: false}
  db: &db
    image: postgres:17
    volumes: {data: /var/lib/postgresql/data}
    env: {POSTGRES_USER: kutt, POSTGRES_DB: kutt}
    generate: [POSTGRES_PASSWORD]
    provides: {DB_PASSWORD: "{POSTGRES_PASSWORD}"}
    healthcheck: [pg_isready, -U, kutt, -h, localhost]
  backed: &backed
    <<: *db
    backup:
      cron: "30 2 * * *"
      command: [pg_dump, -U, kutt, --clean, --if-exists, kutt]
      restore: [psql, -1, -v, ON_ERROR_STOP=1, -U, kutt, kutt]
  environment: &environment
    release_command: [npm, run, migrate]
    env: *env
    processes: *processes
environments:
  staging: {<<: *environment, services: {db: *backed, cache: redis:8}}
  production: {<<: *environment, on: command, services: {db: *backed, cache: redis:8}}
  preview: {<<: *environment, services: {db: *db, cache: redis:8}}
"""


class Kutt:
    """Its API keeps links; visits go through a queue at Redis, and what has expired goes by its worker."""

    repository = "thedevs-network/kutt"
    commit = "fc832d7e7243d5472714e17abfe84b908901e1a7"  # v3.2.3 and two more
    files = MappingProxyType({".blacktree.yml": _FILE})
    edits = ()
    first = None
    change = Edit("server/views/partials/footer.hbs", "Powered by <a", "Links cut short by <a")

    async def shows(self, http: httpx2.AsyncClient) -> str:
        return (await http.get("/terms", headers={"Accept": "text/html"})).raise_for_status().text

    async def make(self, http: httpx2.AsyncClient, name: str) -> None:
        await self._cut(http, name)

    async def kept(self, http: httpx2.AsyncClient) -> set[str]:
        return set(await self._links(http))

    async def worked(self, http: httpx2.AsyncClient) -> bool:
        """A visit is counted, through the queue; a link of one minute is gone, by the worker."""
        links = await self._links(http)
        if "visited" not in links:
            await self._cut(http, "visited")
            await self._cut(http, "brief", expire_in="1m")
            await http.get("/visited", headers=_BROWSER)
            return False
        return links["visited"]["visit_count"] > 0 and "brief" not in links

    async def _cut(self, http: httpx2.AsyncClient, name: str, **more: str) -> None:
        asked = {"target": f"https://example.com/{name}", "customurl": name, **more}
        answer = await http.post("/api/v2/links", json=asked, headers=await self._known(http))
        answer.raise_for_status()

    async def _links(self, http: httpx2.AsyncClient) -> dict[str, dict[str, Any]]:
        answer = await http.get("/api/v2/links?limit=50", headers=await self._known(http))
        return {link["address"]: link for link in answer.raise_for_status().json()["data"]}

    async def _known(self, http: httpx2.AsyncClient) -> dict[str, str]:
        """The administrator, who is made where nobody is yet."""
        answer = await http.post("/api/v2/auth/login", json=_ADMIN)
        if answer.status_code == httpx2.codes.UNAUTHORIZED:
            (await http.post("/api/v2/auth/create-admin", json=_ADMIN)).raise_for_status()
            answer = await http.post("/api/v2/auth/login", json=_ADMIN)  # the token of before names nobody
        return {"Cookie": f"token={answer.raise_for_status().json()['token']}"}


app = Kutt()
