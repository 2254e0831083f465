"""FreshRSS: PHP with Apache, cron as a worker, PostgreSQL; its ENTRYPOINT installs it."""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import Any

import httpx2

from tests.apps.app import Edit

_PASSWORD = "correcthorse"

_FILE = f"""\
x-shared:
  env: &env
    FRESHRSS_USER: --user ada --password {_PASSWORD} --api-password {_PASSWORD} --language en
  processes: &processes
    web: {{port: 80}}
    worker: {{command: [cron, -f], env: {{CRON_MIN: "*"}}, overlap: false}}
  db: &db
    image: postgres:17
    volumes: {{data: /var/lib/postgresql/data}}
    env: {{POSTGRES_USER: freshrss, POSTGRES_DB: freshrss}}
    generate: [POSTGRES_PASSWORD]
    provides:
      FRESHRSS_INSTALL: >-
        --default-user ada --language en --auth-type none --api-enabled --environment production
        --base-url http://web --db-type pgsql --db-host db --db-base freshrss --db-user freshrss
        --db-password {{POSTGRES_PASSWORD}}
    healthcheck: [pg_isready, -U, freshrss, -h, localhost]
  backed: &backed
    <<: *db
    backup:
      cron: "30 2 * * *"
      command: [pg_dump, -U, freshrss, --clean, --if-exists, freshrss]
      restore: [psql, -1, -v, ON_ERROR_STOP=1, -U, freshrss, freshrss]
  environment: &environment
    release_command: [./cli/list-users.php]   # what installs it is the ENTRYPOINT before it
    env: *env
    processes: *processes
    volumes: {{data: /var/www/FreshRSS/data}}
images:
  app: {{dockerfile: Docker/Dockerfile}}
environments:
  staging: {{<<: *environment, services: {{db: *backed}}}}
  production: {{<<: *environment, on: command, services: {{db: *backed}}}}
  preview: {{<<: *environment, services: {{db: *db}}}}
"""

_NEWS = """\
<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0"><channel><title>News</title><link>http://web/</link><description>News</description>
<item><title>Something is new</title><link>http://web/news</link><guid>http://web/news</guid>
<pubDate>Mon, 02 Nov 2026 08:00:00 GMT</pubDate><description>Read it here.</description></item>
</channel></rss>
"""


class FreshRSS:
    """Its user imports feeds; what reads them is its worker."""

    repository = "FreshRSS/FreshRSS"
    commit = "4461784b8a519fe5f77e374be8e79818422933a0"  # 1.24.3
    # With a feed, since no other is in reach.
    files = MappingProxyType({".blacktree.yml": _FILE, "p/news.xml": _NEWS})
    edits = ()
    first = None
    change = Edit(
        "app/i18n/en/index.php", "a self-hostable RSS aggregator and reader", "where all your news is read"
    )

    async def shows(self, http: httpx2.AsyncClient) -> str:
        return (await http.get("/i/?c=index&a=about")).raise_for_status().text

    async def make(self, http: httpx2.AsyncClient, name: str) -> None:
        """As a browser does: the form with its token, then the file."""
        form = (await http.get("/i/?c=importExport")).raise_for_status().text
        found = re.search(r'name="_csrf" value="([^"]+)"', form)
        assert found, form
        outline = f'<outline text="{name}" title="{name}" type="rss" xmlUrl="http://web/news.xml?{name}"/>'
        opml = f'<?xml version="1.0"?><opml version="2.0"><head/><body>{outline}</body></opml>'
        answer = await http.post(
            "/i/?c=importExport&a=import",
            data={"_csrf": found[1]},
            files={"file": ("feeds.opml", opml.encode(), "text/xml")},
            follow_redirects=True,
        )
        answer.raise_for_status()

    async def kept(self, http: httpx2.AsyncClient) -> set[str]:
        return {feed["title"] for feed in await self._feeds(http)}

    async def worked(self, http: httpx2.AsyncClient) -> bool:
        """Each feed that was made has its article, which cron has fetched; one of theirs is out of reach."""
        feeds = [feed for feed in await self._feeds(http) if feed["url"].startswith("http://web/")]
        read = [await self._asked(http, f"stream/contents/{feed['id']}") for feed in feeds]
        return bool(read) and all(one["items"] for one in read)

    async def _feeds(self, http: httpx2.AsyncClient) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = (await self._asked(http, "subscription/list?output=json"))[
            "subscriptions"
        ]
        return found

    async def _asked(self, http: httpx2.AsyncClient, what: str) -> dict[str, Any]:
        api = "/api/greader.php"
        login = await http.post(f"{api}/accounts/ClientLogin", data={"Email": "ada", "Passwd": _PASSWORD})
        known = login.raise_for_status().text.split("Auth=")[1].split()[0]
        answer = await http.get(
            f"{api}/reader/api/0/{what}", headers={"Authorization": f"GoogleLogin auth={known}"}
        )
        found: dict[str, Any] = answer.raise_for_status().json()
        return found


app = FreshRSS()
