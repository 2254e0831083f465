"""What containers and builds reach, tried from inside: a real engine, real rules and a small internet."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Any

import docker
import pytest

from config.networks import Reachable, parse_reachable
from config.settings import Settings
from tests.parts.dockerd import Dockerd
from tests.parts.engine import BASE_IMAGE, Engine
from tests.workers.bot import Bot
from tests.workers.build.workshop import Workshop
from tests.workers.deploy.test_deploy import SERVE as SITE
from tests.workers.deploy.test_deploy import page, spec
from workers.contract.failure import Failure
from workers.contract.memory import MemoryQueue
from workers.contract.messages import Limits, Probe, StopSpec, Succeeded
from workers.doctor import checks
from workers.engine.builder import Builder
from workers.engine.buildkit import find_builder
from workers.engine.docker import DockerEngine
from workers.engine.engine import Command, ContainerSpec, prefixed
from workers.tools import Tools
from workers.upkeep.rules import Chains, Confined, name_servers, restored
from workers.upkeep.wall import NoWall, Wall
from workers.worker import Worker

pytestmark = pytest.mark.timeout(600)
RANGE = "10.209.0.0/20"
INTERNET, METADATA, DATABASE = "198.51.100.2", "169.254.169.254", "10.66.0.9"
PORT = 8099
DNS = ("udp", "tcp")
# Answers every connection with a word, which is how `nc` below tells that it was reached.
SERVE = f"""
import socket
with socket.create_server(("0.0.0.0", {PORT})) as door:
    print("ready", flush=True)
    while True:
        with door.accept()[0] as visitor:
            visitor.sendall(b"here")
"""
LIMITS = Limits(memory=64 << 20, cpus=1, pids=200)


def run(*argv: str) -> str:
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=120).stdout


def rules() -> str:
    """All but those of other tests' engines, which come and go (tests/parts/dockerd.py)."""
    found = run("iptables", "-w", "-S").splitlines()
    return "\n".join(line for line in found if not re.search(r'--comment "?bt[0-9a-f]{12}"? ', line))


@contextlib.contextmanager
def serving(*prefix: str) -> Iterator[None]:
    """Something listens on PORT at all addresses."""
    argv = [*prefix, sys.executable, "-c", SERVE]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            yield
        finally:
            process.kill()


@contextlib.contextmanager
def network() -> Iterator[str]:
    """A network namespace, by its name."""
    space = f"bt{secrets.token_hex(3)}"
    run("ip", "netns", "add", space)
    try:
        yield space
    finally:
        run("ip", "netns", "delete", space)


@pytest.fixture(scope="module")
def world() -> Iterator[None]:
    """This machine serves, and beyond it are the internet, a cloud's metadata and somebody's database."""
    with network() as space:
        inside, outside = f"{space}i", f"{space}o"
        run("ip", "link", "add", outside, "type", "veth", "peer", "name", inside, "netns", space)
        run("ip", "address", "add", "198.51.100.1/24", "dev", outside)
        run("ip", "link", "set", outside, "up")
        within = ("ip", "netns", "exec", space)
        for address in (f"{INTERNET}/24", f"{METADATA}/32", f"{DATABASE}/32"):
            run(*within, "ip", "address", "add", address, "dev", inside)
        for link in ("lo", inside):
            run(*within, "ip", "link", "set", link, "up")
        run(*within, "ip", "route", "add", "default", "via", "198.51.100.1")
        for address in (METADATA, DATABASE):
            run("ip", "route", "add", f"{address}/32", "via", INTERNET)
        with serving(*within), serving():
            yield


@dataclass
class Fenced:
    """A worker's engine behind its wall."""

    wall: Wall
    engine: DockerEngine
    base: str
    name: str

    async def reached(self, *places: str, network: str = "own") -> list[str]:
        """Which of IP or IP:PORT a container reaches."""
        said: list[str] = []
        command = Command(
            name=f"blacktree-{self.name}-{secrets.token_hex(3)}",
            image=self.base,
            command=["sh", "-c", looking(*places)],
            limits=LIMITS,
            labels=prefixed({"worker": self.name}),
            network=network if network == "bridge" else f"{self.name}-{network}",
        )
        assert await self.engine.run(command, said.append) == 0, said
        return [ip for place in places if (ip := place.partition(":")[0]) in "".join(said).split()]

    async def web(self, network: str) -> str:
        """A container that serves on PORT; gives its own address."""
        spec = ContainerSpec(
            name=f"blacktree-{self.name}-{network}",
            image=self.base,
            command=["sh", "-c", f"while true; do printf here | nc -l -p {PORT}; done"],
            env={},
            limits=LIMITS,
            port=PORT,
            address="127.0.0.1",
            network=f"{self.name}-{network}",
            labels=prefixed({"worker": self.name}),
        )
        made = await self.engine.start(spec)
        async with asyncio.timeout(60):
            while PORT not in {one.port for one in await self.engine.listening(made.id) or ()}:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        with contextlib.closing(docker.from_env()) as client:
            found: Any = client.containers.get(made.id)
        return str(found.attrs["NetworkSettings"]["Networks"][spec.network]["IPAddress"])


def looking(*places: str) -> str:
    """A script that asks these IP or IP:PORT, twenty at once, and prints which answer."""
    asked = ((ip, port or PORT) for ip, _, port in (place.partition(":") for place in places))
    looks = [
        f'{{ [ "$(nc -w 10 {ip} {port} </dev/null 2>/dev/null)" = here ] && echo {ip}; }} &'
        for ip, port in asked
    ]
    return "; ".join(" ".join([*looks[start : start + 20], "wait"]) for start in range(0, len(looks), 20))


def settings(folder: Path, name: str, **more: Any) -> Settings:
    return Settings(data_dir=folder, worker_name=name, network_range=RANGE, **more)


@pytest.fixture
async def fenced(
    world: None,  # noqa: ARG001
    engine: Engine,
    base: str,
    name: str,
    tmp_path: Path,
) -> AsyncIterator[Fenced]:
    port = DockerEngine(os.environ, name, IPv4Network(RANGE))
    wall = Wall(settings(tmp_path, name), port)
    await wall.put_up()
    yield Fenced(wall, port, base, name)
    engine.remove(f"io.blacktree.worker={name}")
    await wall.take_down()
    assert name_of(wall) not in rules()
    port.close()


def name_of(wall: Wall) -> str:
    return wall._chains.forward.removesuffix("-FWD")


def gateways() -> list[str]:
    """This machine's own addresses, as containers know them."""
    found = run("ip", "-4", "-oneline", "address", "show", "scope", "global").splitlines()
    return [line.split()[3].partition("/")[0] for line in found]


async def test_a_container_reaches_the_internet_and_nothing_private(fenced: Fenced) -> None:
    machine = gateways()
    assert await fenced.reached(INTERNET, METADATA, DATABASE, *machine) == [INTERNET]
    await _down(fenced)
    everything = await fenced.reached(INTERNET, METADATA, DATABASE, *machine)
    still = [address for address in machine if address in gateways()]  # others' networks come and go
    assert still
    assert {INTERNET, METADATA, DATABASE, *still} <= set(everything), "so it is without the wall"


async def _down(fenced: Fenced) -> None:
    for chain in (fenced.wall._chains.forward, fenced.wall._chains.local):
        await asyncio.to_thread(run, "iptables", "-w", "-F", chain)


async def test_a_step_of_a_build_reaches_the_internet_and_nothing_private(
    fenced: Fenced, engine: Engine, tmp_path: Path
) -> None:
    prefix = f"blacktree-{fenced.name}-"
    workshop = Workshop(await find_builder(os.environ, prefix), tmp_path / "build", prefix, engine.client)
    places = (INTERNET, METADATA, DATABASE, *gateways())
    script = looking(*places).replace("echo", "echo reached")
    await workshop.build(f"FROM {fenced.base}\nRUN {script} # {secrets.token_hex(4)}\n")
    assert [place for place in places if f"reached {place}\n" in workshop.said] == [INTERNET], workshop.said
    workshop.close()


async def test_a_build_gets_no_host_network(fenced: Fenced, engine: Engine, tmp_path: Path) -> None:
    prefix = f"blacktree-{fenced.name}-"
    workshop = Workshop(await find_builder(os.environ, prefix), tmp_path / "build", prefix, engine.client)
    with pytest.raises(Failure):
        await workshop.build(f"FROM {fenced.base}\nRUN --network=host true # {secrets.token_hex(4)}\n")
    assert "network.host" in workshop.said or "Unknown flag: network" in workshop.said, workshop.said


async def test_what_the_engine_fetches_for_a_build_no_rule_holds_as_the_docs_say(
    fenced: Fenced, engine: Engine, tmp_path: Path
) -> None:
    """So what listens on a worker's loopback has to ask for credentials."""
    prefix = f"blacktree-{fenced.name}-"
    workshop = Workshop(await find_builder(os.environ, prefix), tmp_path / "build", prefix, engine.client)
    (tmp_path / "file").write_text(secrets.token_hex(8))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/file"
        await workshop.build(f"FROM {fenced.base}\nADD {url} /file\nRUN cat /file\n")
        server.shutdown()
    assert (tmp_path / "file").read_text() in workshop.said
    workshop.close()


async def test_what_the_instance_allows_is_reached_and_no_other_port_of_it(
    fenced: Fenced, tmp_path: Path
) -> None:
    both = f"{DATABASE}:{PORT}, 172.17.0.1"
    for allowed, found in ((both, [DATABASE, "172.17.0.1"]), (f"{DATABASE}:1", [])):
        told = settings(tmp_path, fenced.name, reachable=allowed)
        await Wall(told, fenced.engine).put_up()
        assert await fenced.reached(METADATA, DATABASE, "172.17.0.1") == found


async def test_containers_of_one_network_reach_each_other_and_no_other_networks(fenced: Fenced) -> None:
    mine, other = await fenced.web("own"), await fenced.web("other")
    assert await fenced.reached(mine, other) == [mine]
    assert await fenced.reached(mine, other, network="bridge") == []


async def test_this_machine_reaches_its_containers(fenced: Fenced) -> None:
    """As the proxy and the worker's probes do; here at the container's own address, not at Docker's."""
    address = await fenced.web("own")
    _, writer = await asyncio.wait_for(asyncio.open_connection(address, PORT), 60)
    writer.close()
    await writer.wait_closed()


def test_names_are_resolved_by_the_machines_own_servers_wherever_they_are(fenced: Fenced) -> None:
    there, chains = set(rules().splitlines()), fenced.wall._chains
    for server in name_servers(Path("/etc/resolv.conf").read_text()):
        for chain in (chains.forward, chains.local):
            whence = f"-A {chain} -d {server}/32"
            asked = {f"{whence} -p {how} -m {how} --dport 53 -j RETURN" for how in DNS}
            assert server.version == 6 or asked <= there


async def test_rules_are_the_same_however_often_they_are_made_and_others_stay(
    fenced: Fenced, engine: Engine
) -> None:
    mine = name_of(fenced.wall)
    once = await asyncio.to_thread(rules)
    await fenced.wall.put_up()
    assert await asyncio.to_thread(rules) == once
    await asyncio.to_thread(run, "iptables", "-w", "-D", "INPUT", "-j", fenced.wall._chains.local)
    await _down(fenced)
    await fenced.wall.put_up()
    assert await asyncio.to_thread(rules) == once, "what somebody flushed is there again"

    await fenced.reached(INTERNET)
    await fenced.wall.take_down()
    assert mine in await asyncio.to_thread(rules), (
        "a network of the worker's is left, which may be used again"
    )
    engine.remove(f"io.blacktree.worker={fenced.name}")
    await fenced.wall.take_down()
    kept = [line for line in once.splitlines() if mine not in line]
    assert (await asyncio.to_thread(rules)).splitlines() == kept


PUT_UP = """
import asyncio, os, sys
from pathlib import Path
from config.settings import Settings
from workers.engine.docker import DockerEngine
from workers.upkeep.wall import Wall

asyncio.run(Wall(Settings(data_dir=Path(sys.argv[1])), DockerEngine(os.environ)).put_up())
"""


def test_an_engine_that_is_started_anew_leaves_the_rules_as_they_were(tmp_path: Path) -> None:
    with network() as space, Dockerd("200m", netns=space) as dockerd:
        within = ("nsenter", f"--net=/run/netns/{space}")

        def reached() -> bytes:
            argv = ["sh", "-c", looking(dockerd.gateway)]
            said: bytes = dockerd.client.containers.run(BASE_IMAGE, argv, remove=True)
            return said.strip()

        with serving(*within):
            assert reached() == dockerd.gateway.encode()
            argv = [*within, sys.executable, "-c", PUT_UP, str(tmp_path)]
            subprocess.run(argv, check=True, env=dockerd.environ, timeout=170)
            before = run(*within, "iptables", "-S")
            assert reached() == b""
            dockerd.stop()
            dockerd.start()
            assert run(*within, "iptables", "-S") == before
            assert reached() == b""


@pytest.mark.usefixtures("last_words")
async def test_a_worker_deploys_behind_its_wall_and_takes_it_down_when_nothing_of_it_is_left(
    world: None,  # noqa: ARG001
    bot: Bot,
    queue: MemoryQueue,
    tools: Tools,
    docker_engine: DockerEngine,
    engine: Engine,
    base: str,
    name: str,
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    told = settings(tmp_path, name, lease=6, shutdown=5)
    chain, places = name_of(Wall(told, docker_engine)), (INTERNET, METADATA, "172.17.0.1")
    request.addfinalizer(partial(_fell, name_of(Wall(told, docker_engine))))
    for left in (True, False):
        own = DockerEngine(os.environ, name, IPv4Network(RANGE))
        worker = Worker(told, queue, own, lambda: _given(tools.builder), os.environ)
        running = asyncio.create_task(worker.run())
        if left:
            script = f"{looking(*places)}; {SITE.format('r1')}"
            slow = Probe(path="/", timeout=120, interval=0.1)
            ended = await bot.run("r1", spec(base, "r1", script, probe=slow))
            assert isinstance(ended.result, Succeeded), bot.log("r1")
            said = bot.log("r1").split()
            assert [place for place in places if place in said] == [INTERNET]
            assert await page(bot.readies[0].addresses[0]) == "r1\n"
        else:
            stop = StopSpec(instance="test", repository="acme/shop", environment="production")
            assert isinstance((await bot.run("stop", stop)).result, Succeeded)
        assert chain in await asyncio.to_thread(rules)
        worker.stop()
        await asyncio.wait_for(running, 90)
        assert (chain in await asyncio.to_thread(rules)) is left, "a container that runs on stays behind it"
    assert not engine.containers(f"io.blacktree.worker={name}")


def _fell(name: str) -> None:
    """Rules that a failed test has left would hold for the tests after it."""
    for chain, parent in ((f"{name}-FWD", "DOCKER-USER"), (f"{name}-IN", "INPUT")):
        for argv in (("-D", parent, "-j", chain), ("-F", chain), ("-X", chain)):
            subprocess.run(("iptables", "-w", *argv), check=False, capture_output=True, timeout=120)


async def _given(builder: Builder) -> Builder:
    return builder


async def test_a_worker_that_cannot_make_rules_says_why(
    docker_engine: DockerEngine, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    wall = Wall(settings(tmp_path, name, firewall=False), docker_engine)
    assert await wall.stand() == "FIREWALL is false"
    wall = Wall(settings(tmp_path, name), docker_engine)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(NoWall, match="run the worker as root"):
        await wall.put_up()
    [check] = [one async for one in checks(settings(tmp_path, name)) if one.part == "firewall"]
    assert check.found.startswith("none: containers and builds reach private addresses: only root")


def test_the_rules_name_each_familys_addresses_and_end_in_no_accept() -> None:
    confined = Confined(
        [IPv4Network("10.207.0.0/16")],
        [ip_address("10.0.0.2"), ip_address("fd00::2")],
        parse_reachable("10.0.0.9:5432, [fd00::9]:80"),
        "docker0",
    )
    four = restored(Chains("F", "I"), confined, 4)
    assert "-A F -s 10.207.0.0/16 -d 169.254.0.0/16 -j REJECT\n" in four
    assert "-A I -s 10.207.0.0/16 -j REJECT\n" in four
    assert "-A I -d 10.0.0.9/32 -p tcp --dport 5432 -j RETURN\n" in four
    assert "fd00" not in four
    assert "ACCEPT" not in four
    six = restored(Chains("F", "I"), confined, 6)
    assert "-A F -d fd00::2 -p udp --dport 53 -j RETURN\n" in six
    assert "-A F -d fd00::9/128 -p tcp --dport 80 -j RETURN\n" in six
    assert "10." not in six


def test_name_servers_on_loopback_are_left_to_the_engine() -> None:
    text = (
        "# x\nnameserver 127.0.0.53\noptions a\nnameserver 10.0.0.2\nnameserver fe80::1%eth0\nnameserver x\n"
    )
    assert name_servers(text, "nameserver 10.0.0.2") == [ip_address("10.0.0.2"), ip_address("fe80::1")]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", []),
        ("10.0.0.9", [Reachable(IPv4Network("10.0.0.9/32"))]),
        ("10.0.0.9:5432 , 10.1.0.0/16", [Reachable(IPv4Network("10.0.0.9/32"), 5432),
                                         Reachable(IPv4Network("10.1.0.0/16"))]),
    ],
)  # fmt: skip
def test_what_may_be_reached_is_addresses_ranges_and_ports(text: str, found: list[Reachable]) -> None:
    assert parse_reachable(text) == found


@pytest.mark.parametrize(
    "wrong", ["db.example", "10.0.0.9:0", "10.0.0.9:x", "10.0.0.1/16", "[fd00::9]:70000"]
)
def test_what_may_be_reached_is_told_when_it_is_nothing(wrong: str) -> None:
    with pytest.raises(ValueError, match="must be IP, IP:PORT or IP/BITS"):
        parse_reachable(wrong)
