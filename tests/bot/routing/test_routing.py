"""Releases become routes: names, ports, users, pages; a real store, a real Caddy, the bot's real pages."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlmodel import select

from bot.intake.receiver import Receiver
from bot.jobs.specs import release_name
from bot.routing import visits
from bot.routing.caddy import Caddy, admin
from bot.routing.caddy_config import ASKING, Serving
from bot.routing.caddy_process import CaddyProcess
from bot.routing.proof import proof
from bot.routing.proxy import Direct, Proxy
from bot.routing.router import Router, retire
from bot.routing.upstreams import Reach
from bot.secrets.repositories import Secrets
from bot.secrets.vault import Vault
from bot.store.database import Store
from bot.store.logs import FileLogs
from bot.store.tables import Environment, Job, JobState, Pull, Release, ReleaseState, Repository, WorkerRow
from bot.sweeps import requests
from bot.web.access import Access
from bot.web.api import Api
from bot.web.app import application
from bot.web.metrics import Metrics
from bot.web.visitors import Visitors
from config.errors import ConfigError
from config.hosts import host_name
from config.settings import Settings
from config.trust import trusted
from tests.bot.conftest import REPOSITORY, Rows
from tests.bot.routing.test_caddy import BIND, container
from tests.github.server import listen, serving
from workers.contract.memory import MemoryQueue
from workers.contract.messages import Kind, Ready, Refusal, Switched, now

OTHER = 8
KEY = b"a key of the proxy"


def found(answer: httpx2.Response) -> bool:
    return answer.status_code != 404


def missing(answer: httpx2.Response) -> bool:
    return not found(answer)


@dataclass
class World:
    """A bot with its store, its pages and its proxy, and a browser."""

    store: Store
    rows: Rows
    settings: Settings
    proxy: Proxy
    bot: str
    woken: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.secrets = Secrets(self.store, Vault(self.store, self.settings))
        self.router = Router(self.store, self.proxy, self.settings, self.secrets, self.bot)

    async def environment(self, name: str, repository: int = REPOSITORY, **columns: Any) -> Environment:
        async with self.store.transaction() as session:
            place = Environment(repository_id=repository, name=name, **columns)
            session.add(place)
        return place

    async def deploying(self, place: Environment, **spec: Any) -> tuple[Job, Release]:
        """A deploy that runs, and the release that it brings out."""
        run = await self.rows.run(repository_id=place.repository_id)
        job = await self.rows.job(
            run, 1, Kind.DEPLOY, place.name, state=JobState.RUNNING, attempt=1, worker="one"
        )
        async with self.store.transaction() as session:
            release = Release(
                environment_id=place.id or 0,
                run_id=run.id or 0,
                job_id=job.id,
                sha=run.sha,
                image="shop@sha256:1",
                attempt=1,
                settings=spec,
            )
            session.add(release)
        return job, release

    async def ready(self, place: Environment, *addresses: str, **spec: Any) -> Switched | Refusal:
        """Deploy to a place: containers are healthy at these addresses."""
        job, release = await self.deploying(place, **spec)
        name = release_name(self.store.instance, release)
        return await self.router.ready(Ready(job=job.id, attempt=1, release=name, addresses=[*addresses]))

    async def set(self, place: Environment, **columns: Any) -> None:
        async with self.store.transaction() as session:
            row = await session.get_one(Environment, place.id)
            for name, value in columns.items():
                setattr(row, name, value)
        await self.router.restore()

    async def look(self, place: Environment) -> Environment:
        async with self.store.reading() as session:
            return await session.get_one(Environment, place.id)

    async def visit(
        self, host: str, wanted: Callable[[httpx2.Response], bool] = found, **how: Any
    ) -> httpx2.Response:
        """What a visitor is answered, once it is as `wanted`.

        Just after Caddy was told of a host name its listener of before may still take a connection.
        """
        url = f"http://{BIND}:{self.settings.proxy_http_port}/"
        async with asyncio.timeout(60):
            while True:
                async with httpx2.AsyncClient(verify=trusted(), timeout=60) as http:
                    answer = await http.get(url, headers={"host": host}, **how)
                if wanted(answer):
                    return answer
                await asyncio.sleep(0.05)


@pytest.fixture
async def world(
    store: Store, rows: Rows, tmp_path: Path, free_port: Callable[[], int]
) -> AsyncIterator[World]:
    """Host names without TLS, which Caddy's own tests have."""
    settings = Settings(
        data_dir=tmp_path,
        proxy_bind=BIND,
        proxy_http_port=free_port(),
        proxy_tls="off",
        domain="{environment}.{repository}.test",
        public_url="https://bot.test",
        drain=30,
    )
    await rows.run()
    async with store.transaction() as session:
        session.add(Repository(id=OTHER, full_name="acme/other", default_branch="main"))
        session.add(worker_at(BIND))
    async with bot(store, settings, tmp_path) as (address, woken):
        serving_ = Serving.of(settings, address, None, KEY)
        async with CaddyProcess.running(tmp_path / "caddy", serving_) as caddy:
            yield World(store, rows, settings, caddy, address, woken)


def worker_at(address: str) -> WorkerRow:
    return WorkerRow(name="one", instance="i", pool="default", slots=1, address=address, software="")


@asynccontextmanager
async def bot(store: Store, settings: Settings, folder: Path) -> AsyncIterator[tuple[str, list[int]]]:
    """The bot's web application; gives its address, and the environments that it woke."""
    woken: list[int] = []

    async def wake(environment: int) -> None:
        woken.append(environment)

    visitors = Visitors(store, settings, wake, KEY)
    api = Api(store, FileLogs(folder / "logs"))
    receiver = Receiver(store, (b"secret" * 4,))
    web = application(
        receiver, [api], store, MemoryQueue(), visitors, Access("token"), Metrics(store, MemoryQueue(), 60)
    )
    with contextlib.closing(listen(BIND, 0)) as listener:
        async with serving(web, listener):
            yield f"{BIND}:{listener.getsockname()[1]}", woken


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{environment}.{repository}.test", "pr-7.my-shop.test"),
        ("{repository}-{pr}.{owner}.test", "my-shop-7.acme.test"),
        ("{branch}.Test.", "feature-a-b.test"),
        ("www.example.com", "www.example.com"),
        ("{branch}-{branch}-{branch}-{branch}-{branch}-{branch}-x.test", None),
    ],
)
def test_a_template_gives_a_name_that_dns_takes(template: str, name: str | None) -> None:
    parts = {
        "environment": "pr-7",
        "repository": "My_Shop",
        "owner": "acme",
        "pr": "7",
        "branch": "feature/a_b",
    }

    made = host_name(template, parts)

    assert name is None or made == name
    assert all(0 < len(label) <= 63 for label in made.split("."))


def test_names_that_are_cut_stay_different() -> None:
    one, two = (host_name("{branch}.test", {"branch": "x" * 80 + end}) for end in "ab")

    assert one != two


@pytest.mark.parametrize(
    ("template", "wrong"),
    [("{nobody}.test", "unknown part 'nobody'"), ("{pr}.test", "no host name"), ("{environment", "no host")],
)
def test_a_template_that_gives_no_name_is_told(template: str, wrong: str) -> None:
    with pytest.raises(ConfigError, match=wrong):
        host_name(template, {"environment": "staging", "pr": ""})


async def test_a_release_has_its_files_name_headers_and_users_and_the_old_one_drains_as_long_as_it_says(
    world: World,
) -> None:
    shop = await world.environment("production")
    async with container("old") as old, container("new") as new:
        assert await world.ready(shop, old) == Switched(
            url=f"http://production.shop.test:{world.settings.proxy_http_port}"
        )
        assert (await world.visit("production.shop.test")).text == "old"

        own = {"domain": "www.{repository}.test", "auth": {"ada": "ADAS"}, "headers": {"X-Shop": "1"}}
        refused = await world.ready(shop, new, **own, drain=5)
        assert isinstance(refused, Refusal)
        assert "no secret is set for ada (ADAS)" in refused.reason
        assert (await world.visit("production.shop.test")).text == "old"

        await world.secrets.set(REPOSITORY, "production", "ADAS", "lovelace")
        assert isinstance(await world.ready(shop, new, **own, drain=5), Switched)
        assert (await world.visit("production.shop.test", missing)).status_code == 404
        assert (await world.visit("www.shop.test")).status_code == 401
        answer = await world.visit("www.shop.test", auth=("ada", "lovelace"))
        assert (answer.text, answer.headers["x-shop"]) == ("new", "1")
        async with world.store.reading() as session:
            retired = select(Release).where(Release.state == ReleaseState.RETIRED)
            [before] = (await session.exec(retired)).all()
        assert before.remove_after is not None
        assert (before.remove_after - now()).total_seconds() < 6

        # Another bot hashes alike, or the configuration would change whenever one starts.
        config = await _config(world)
        again = World(world.store, world.rows, world.settings, world.proxy, world.bot)
        await again.router.restore()
        assert await _config(world) == config

        await world.secrets.remove(REPOSITORY, "production", "ADAS")
        await world.router.restore()
        nobody = await world.visit(
            "www.shop.test", lambda answer: answer.status_code == 401, auth=("ada", "lovelace")
        )
        assert nobody.status_code == 401


async def _config(world: World) -> Any:
    assert isinstance(world.proxy, Caddy)
    async with admin((await world.proxy.check()).split()[-1]) as http:
        return (await http.get("/config/")).json()


async def test_a_name_is_never_taken_from_another_environment_not_even_while_that_one_is_stopped(
    world: World,
) -> None:
    shop = await world.environment("production")
    thief = await world.environment("production", OTHER)
    async with container("shop") as page, container("thief") as other:
        assert isinstance(await world.ready(shop, page, domain="www.test"), Switched)
        await world.set(shop, stopped=True)
        for _ in range(2):
            refused = await world.ready(thief, other, domain="www.test")
            assert refused == Refusal(
                reason="The host name www.test is that of production of acme/shop already: choose another"
                " `domain` in .blacktree.yml",
                users=True,
            )
        assert "production is stopped" in (await world.visit("www.test")).text
        own = await world.ready(thief, other, domain="bot.test")
        assert isinstance(own, Refusal)
        assert "Blacktree's own" in own.reason
        assert isinstance(await world.ready(thief, other), Switched)
        assert (await world.visit("production.other.test")).text == "thief"


async def test_a_name_that_domain_makes_waits_for_its_environment_and_addresses_are_nobodys(
    world: World,
) -> None:
    thief = await world.environment("production", OTHER)
    async with container("shop") as page, container("thief") as other:
        for name in ("production.shop.test", "www.shop.test", "pr-1.shop.test", "pr-1.other.test"):
            refused = await world.ready(thief, other, domain=name)
            assert isinstance(refused, Refusal)
            assert f"the host name {name} is one that DOMAIN makes for" in refused.reason
        for name in ("127.0.0.1", "localhost", "shop.localhost", "0x7f.1"):
            refused = await world.ready(thief, other, domain=name)
            assert isinstance(refused, Refusal)
            assert "is an address or a machine's name for itself" in refused.reason

        assert isinstance(await world.ready(await world.environment("production"), page), Switched)
        assert (await world.visit("production.shop.test")).text == "shop"


async def test_who_took_a_name_before_it_was_anothers_gives_way_to_whom_it_belongs(world: World) -> None:
    thief = await world.environment("production", OTHER)
    shop = await world.environment("production")
    async with container("shop") as page, container("thief") as other:
        domain = world.settings.domain
        world.settings = world.settings.model_copy(update={"domain": ""})
        world.__post_init__()
        assert isinstance(await world.ready(thief, other, domain="production.shop.test"), Switched)
        world.settings = world.settings.model_copy(update={"domain": domain})
        world.__post_init__()
        await world.router.restore()
        assert (await world.visit("production.shop.test")).text == "thief", "nobody else wants it yet"

        assert isinstance(await world.ready(shop, page), Switched)
        assert (
            await world.visit("production.shop.test", lambda answer: answer.text == "shop")
        ).text == "shop"
        await world.router.restore()
        assert (await world.visit("production.shop.test")).text == "shop"


async def test_other_names_are_given_by_the_instance_where_it_says_to_whom(world: World) -> None:
    world.settings = world.settings.model_copy(
        update={"domain_owners": "www.test=acme/shop, other.test=acme/*"}
    )
    world.__post_init__()
    shop, blog = await world.environment("production"), await world.environment("production", OTHER)
    async with container("page") as page:
        refused = await world.ready(blog, page, domain="www.test")
        assert isinstance(refused, Refusal)
        assert (
            "the host name www.test is not given to acme/other: DOMAIN_OWNERS says whose it is"
            in refused.reason
        )
        assert isinstance(await world.ready(shop, page, domain="www.test"), Switched)
        assert isinstance(await world.ready(blog, page, domain="blog.other.test"), Switched)
        assert isinstance(await world.ready(blog, page), Switched), "what DOMAIN makes needs no leave"


async def test_an_environment_that_rests_shows_a_page_and_one_that_sleeps_is_woken_by_it(
    world: World,
) -> None:
    preview = await world.environment("pr-7", pull_number=7)
    pull = Pull(repository_id=REPOSITORY, number=7, head_sha="1" * 40, head_ref="feature")
    async with world.store.transaction() as session:
        session.add(pull)
    async with container("preview") as page:
        await world.ready(preview, page, domain="pr-{pr}.test", sleep="10m")
        config = await _config(world)
        assert (await world.visit("pr-7.test")).text == "preview"

        await world.set(preview, maintenance="We move <house>.")
        shown = await world.visit("pr-7.test")
        assert (shown.status_code, shown.headers["retry-after"]) == (503, "60")
        assert "We move &lt;house&gt;." in shown.text
        await world.set(preview, maintenance="")
        assert (await world.visit("pr-7.test")).text == "preview"

        async with world.store.transaction() as session:
            await retire(session, REPOSITORY, "pr-7")
        await world.set(preview, asleep=True)
        assert world.woken == []
        shown = await world.visit("pr-7.test")
        assert (shown.status_code, shown.headers["retry-after"]) == (503, "3")
        assert 'http-equiv="refresh" content="3"' in shown.text
        assert world.woken == [preview.id]
        assert await _config(world) == config  # pages are no change that could lose a request

        assert isinstance(await world.ready(preview, page, domain="pr-{pr}.test", sleep="10m"), Switched)
        assert (await world.visit("pr-7.test")).text == "preview"
        assert not (await world.look(preview)).asleep

        async with world.store.transaction() as session:
            await retire(session, REPOSITORY, "pr-7")
        await world.router.restore()
        shown = await world.visit("pr-7.test")
        assert "/redeploy" in shown.text
        assert "retry-after" not in shown.headers
        async with world.store.transaction() as session:
            (await session.get_one(Pull, (REPOSITORY, 7))).open = False
        await world.router.restore()
        with pytest.raises(httpx2.ConnectError):  # it was the only name
            await world.visit("pr-7.test", lambda _: False)


async def test_how_often_an_environment_is_asked_for_is_known_and_when_last(world: World) -> None:
    preview, production = await world.environment("pr-7"), await world.environment("production")
    since = now() - timedelta(hours=1)

    async def visited(environment: Environment) -> int:
        return sum(hour.requests for hour in await visits.of(world.store, environment.id or 0, since))

    async with container("page") as page:
        await world.ready(preview, page, sleep="10m")
        await requests.sweep(world.store, world.proxy)
        assert (await world.look(preview)).requested_at is None

        await world.ready(production, page)  # a new configuration: Caddy counts anew
        await world.visit("production.shop.test")
        await requests.sweep(world.store, world.proxy)
        assert (await world.look(preview)).requested_at is None
        assert (await visited(preview), await visited(production)) == (0, 1)
        for host in ("pr-7.shop.test", "pr-7.shop.test", "production.shop.test", "nobody.shop.test"):
            await world.visit(host, missing if host.startswith("nobody") else found)
        await requests.sweep(world.store, world.proxy)

    assert (await world.look(preview)).requested_at is not None
    assert (await visited(preview), await visited(production)) == (2, 2)


async def test_visits_are_added_up_by_the_hour_and_forgotten_after_a_month(world: World) -> None:
    production, preview = await world.environment("production"), await world.environment("pr-7")
    shop, other, at = production.id or 0, preview.id or 0, now()
    for when, seen in ((at, {shop: 2, other: 0}), (at - timedelta(days=31), {shop: 4}), (at, {shop: 3})):
        await visits.add(world.store, seen, when)

    hours = await visits.of(world.store, shop, at - timedelta(days=60))
    assert [hour.requests for hour in hours] == [4, 5]
    assert hours[1].at == visits.begin(at)
    await visits.sweep(world.store)
    assert [hour.requests for hour in await visits.of(world.store, shop, at - timedelta(days=60))] == [5]
    assert await visits.of(world.store, other, at) == []
    assert (await world.look(preview)).requested_at == at, "one that is still answered is a visit"


async def test_the_bot_knows_for_which_names_certificates_may_be(world: World) -> None:
    async with (
        httpx2.AsyncClient(verify=trusted(), base_url=f"http://{world.bot}", timeout=60) as http,
        container("page") as page,
    ):
        await world.ready(await world.environment("production"), page)

        async def status(name: str) -> int:
            asked = {"domain": name, "proof": proof(KEY, ASKING)}
            return (await http.get("/tls/allowed", params=asked)).status_code

        assert await status("production.shop.test") == 200
        assert await status("Production.shop.test") == 200
        for name in ("staging.shop.test", "x.production.shop.test", "", "bot.test"):
            assert await status(name) == 404
        for wrong in ("", proof(b"another key", ASKING), proof(KEY, "environment-1")):
            asked = {"domain": "production.shop.test", "proof": wrong}
            assert (await http.get("/tls/allowed", params=asked)).status_code == 401


async def test_who_only_says_to_come_through_the_proxy_sees_no_page_and_wakes_nobody(world: World) -> None:
    place = await world.environment("pr-7")
    async with container("page") as page:
        await world.ready(place, page, sleep="10m")
        await world.set(place, asleep=True)
        async with httpx2.AsyncClient(verify=trusted(), base_url=f"http://{world.bot}", timeout=60) as http:
            route = f"environment-{place.id}"
            for wrong in ("", proof(b"another key", route), proof(KEY, "environment-99")):
                named = {"X-Blacktree-Route": route, "X-Blacktree-Proof": wrong}
                assert (await http.get("/", headers=named)).status_code == 401
        assert world.woken == []
        assert "wakes up" in (await world.visit("pr-7.shop.test")).text
        assert world.woken == [place.id]


async def test_without_domains_each_environment_keeps_a_port_and_a_lost_proxy_is_told_again(
    world: World, free_port: Callable[[], int]
) -> None:
    first = free_port()
    world.settings = world.settings.model_copy(
        update={"domain": "", "proxy_ports": f"{first}-{first + 20}", "proxy_host": BIND}
    )
    world.__post_init__()
    shop = await world.environment("production")
    async with (
        container("old") as old,
        container("new") as new,
        httpx2.AsyncClient(verify=trusted(), timeout=60) as http,
    ):
        switched = await world.ready(shop, old)
        assert isinstance(switched, Switched)
        assert (await http.get(switched.url)).text == "old"
        assert await world.ready(shop, new) == switched
        assert (await http.get(switched.url)).text == "new"

        async with asyncio.timeout(60):
            await world.proxy.apply([])
            with pytest.raises(httpx2.ConnectError):
                await http.get(switched.url)
            await world.router.restore()
        assert (await http.get(switched.url)).text == "new"


async def test_without_a_proxy_people_reach_the_container_itself(
    store: Store, rows: Rows, tmp_path: Path
) -> None:
    await rows.run()
    async with store.transaction() as session:
        session.add(worker_at("10.0.0.1"))
    world = World(store, rows, Settings(data_dir=tmp_path, proxy="none"), Direct(), "")
    shop = await world.environment("production", port=20001)

    switched = await world.ready(shop, "10.0.0.1:20001")

    assert switched == Switched(url="http://10.0.0.1:20001")
    refused = await world.ready(shop, "10.0.0.1:20002")
    assert isinstance(refused, Refusal), "which is another environment's"


@pytest.mark.parametrize(
    ("address", "settings", "why"),
    [
        ("unix//var/run/docker.sock", {}, "is not IP:PORT"),
        ("localhost:22001", {}, "is not IP:PORT"),
        ("127.0.0.1:22001/../..", {}, "is not IP:PORT"),
        ("127.1:22001", {}, "is not IP:PORT"),
        ("127.0.0.1:2019", {}, "port 2019"),
        ("127.0.0.1:2019", {"host_network": True}, "port 2019"),
        ("127.0.0.1:20001", {}, "port 20001"),
        ("127.0.0.1:0", {}, "is not IP:PORT"),
        ("10.0.0.9:22001", {}, "is not at the worker's own address, 127.0.0.1"),
        ("169.254.169.254:30080", {"target": "swarm"}, "is not at the worker's own address"),
        ("127.0.0.2:30080", {"target": "swarm"}, "is not at the worker's own address"),
        ("10.0.0.9:5672", {"target": "swarm"}, "port 5672"),
    ],
)
async def test_visitors_are_sent_only_where_the_worker_publishes_containers(
    world: World, address: str, settings: dict[str, Any], why: str
) -> None:
    shop = await world.environment("production")
    async with container("old") as old:
        assert isinstance(await world.ready(shop, old), Switched)
        config = await _config(world)

        refused = await world.ready(shop, address, **settings)

        assert isinstance(refused, Refusal)
        assert why in refused.reason
        assert (await world.visit("production.shop.test")).text == "old"
        assert await _config(world) == config


def test_a_swarms_other_nodes_are_believed_as_they_have_addresses_of_their_own() -> None:
    reach = Reach("10.0.0.1", swarm=True)
    assert reach.refusal(["10.0.0.1:30001", "10.0.0.9:49153", "[fd00::9]:49153"]) == ""


async def test_a_worker_that_nobody_has_heard_of_is_asked_to_wait(world: World) -> None:
    async with world.store.transaction() as session:
        await session.delete(await session.get_one(WorkerRow, "one"))
    refused = await world.ready(await world.environment("production"), f"{BIND}:22001")
    assert isinstance(refused, Refusal)
    assert refused.retry


async def test_an_address_of_before_that_is_none_leaves_its_environment_without_a_route(world: World) -> None:
    shop, other = await world.environment("production"), await world.environment("staging")
    async with container("old") as old, container("well") as well:
        await world.ready(shop, old)
        await world.ready(other, well)
        async with world.store.transaction() as session:
            live = (await session.exec(select(Release).where(Release.environment_id == shop.id))).one()
            live.addresses = ["unix//var/run/docker.sock"]
        await world.router.restore()
        assert (await world.visit("production.shop.test", missing)).status_code == 404
        assert (await world.visit("staging.shop.test")).text == "well"
