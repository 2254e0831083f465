"""The rules that keep containers and builds from private addresses: put up, kept up, at the end taken down.

They are in chains of this worker's own, so that nobody else's rules are touched. Docker leaves DOCKER-USER
alone when it starts anew (https://docs.docker.com/engine/network/firewall-iptables/).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import socket
from ipaddress import ip_network
from pathlib import Path

import structlog

from config.networks import parse_reachable
from config.outages import told
from config.settings import Settings
from workers.engine.engine import Bridge, Engine, EngineDown
from workers.process import process
from workers.upkeep.rules import Chains, Confined, name_servers, restored

log = structlog.get_logger()

_ROUNDS = 30.0  # seconds: how soon rules are there again that somebody has flushed
_ASKING = 20.0  # seconds for one call of iptables
_WAIT = "--wait=5"  # seconds for whoever else changes rules
_PATH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
_RESOLVERS = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
_PROGRAMS = {4: "iptables", 6: "ip6tables"}
_FORWARD = ("DOCKER-USER", "FORWARD")  # the second where Docker makes no rules, or none of iptables'


class NoWall(Exception):
    """This worker cannot make rules here; its text says why, and what to do."""


class Wall:
    """One worker's rules on its engine's machine."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        unique = hashlib.sha256(f"{settings.worker} {settings.data_dir}".encode()).hexdigest()[:8]
        self._chains = Chains(f"BLACKTREE-{unique}-FWD", f"BLACKTREE-{unique}-IN")
        self._told = ""

    async def run(self) -> None:
        """Keep them up until cancelled."""
        while True:
            await asyncio.sleep(_ROUNDS)
            try:
                await self.stand()
            except Exception as error:
                told(log, "the rules of containers and builds are not looked after", error)

    async def stand(self) -> str:
        """Put them up, or say in the log why not; gives that, for people."""
        why = ""
        try:
            await self.put_up()
        except (NoWall, EngineDown) as error:
            why = str(error)
        if why and why != self._told:
            log.warning("containers and builds reach private addresses, and this machine", why=why)
        self._told = why
        return why

    async def put_up(self) -> None:
        """Make the rules current; as often as you like. Raises NoWall and EngineDown."""
        bridges = await self.possible()
        files = await asyncio.to_thread(lambda: [path.read_text() for path in _RESOLVERS if path.is_file()])
        confined = self._confined(bridges, files)
        for version in _PROGRAMS:
            if version == 4 or any(source.version == version for source in confined.sources):
                await self._restore(version, restored(self._chains, confined, version))
                await self._jump(version)

    async def possible(self) -> list[Bridge]:
        """The networks of the engine, whose machine this is. Raises NoWall and EngineDown."""
        if not self._settings.firewall:
            raise NoWall("FIREWALL is false")
        bridges = await self._engine.bridges(self._settings.worker)
        if os.geteuid() != 0:
            raise NoWall("only root makes rules: run the worker as root, or make them yourself")
        if not any(_is_here(gateway) for bridge in bridges for gateway in bridge.gateways):
            raise NoWall(
                "the engine's networks are not this process's: run the worker on the engine's machine, in a"
                " container with `network_mode: host` and `cap_add: [NET_ADMIN]`, or make rules yourself"
            )
        return bridges

    def _confined(self, bridges: list[Bridge], resolvers: list[str]) -> Confined:
        sources = [ip_network(self._settings.network_range)]
        for bridge in bridges:
            found = map(ip_network, bridge.subnets)
            sources += [one for one in found if one.version == 6 or not one.overlaps(sources[0])]
        return Confined(
            sources=sources,
            name_servers=name_servers(*resolvers),
            reachable=parse_reachable(self._settings.reachable),
            bridge=next((bridge.interface for bridge in bridges if bridge.default), ""),
        )

    async def _restore(self, version: int, rules: str) -> None:
        file = os.memfd_create("rules")
        try:
            os.write(file, rules.encode())
            argv = [f"{_PROGRAMS[version]}-restore", _WAIT, "--noflush", f"/proc/self/fd/{file}"]
            os.lseek(file, 0, os.SEEK_SET)
            await _call(argv, pass_fds=[file])
        finally:
            os.close(file)

    async def _jump(self, version: int) -> None:
        """Have what comes from containers come by, before anything else is asked."""
        for places, chain in ((_FORWARD, self._chains.forward), (("INPUT",), self._chains.local)):
            place = places[0] if await self._has(version, "-S", places[0]) else places[-1]
            if not await self._has(version, "-C", place, "-j", chain):
                await _call([_PROGRAMS[version], _WAIT, "-I", place, "-j", chain])

    async def take_down(self) -> None:
        """Remove all of it, where no container or network of this worker's is left that needs it."""
        mine = {"worker": self._settings.worker}
        with contextlib.suppress(NoWall, EngineDown):
            await self.possible()
            if await self._engine.containers(mine) or await self._engine.networks(mine):
                return
            for version in _PROGRAMS:
                for place in (*_FORWARD, "INPUT"):
                    for chain in (self._chains.forward, self._chains.local):
                        while await self._has(version, "-C", place, "-j", chain):
                            await _call([_PROGRAMS[version], _WAIT, "-D", place, "-j", chain])
                for chain in (self._chains.forward, self._chains.local):
                    if await self._has(version, "-F", chain):
                        await _call([_PROGRAMS[version], _WAIT, "-X", chain])

    async def _has(self, version: int, *arguments: str) -> bool:
        ended = await _ended([_PROGRAMS[version], _WAIT, *arguments])
        return ended.code == 0


async def _call(argv: list[str], pass_fds: list[int] | None = None) -> None:
    ended = await _ended(argv, pass_fds)
    if ended.code != 0:
        raise NoWall(f"{' '.join(argv[:1])} refuses: {ended.tail.strip()[-300:] or ended.code}")


async def _ended(argv: list[str], pass_fds: list[int] | None = None) -> process.Ended:
    try:
        return await process.run(argv, env=_PATH, timeout=_ASKING, pass_fds=pass_fds or ())
    except FileNotFoundError:
        raise NoWall(f"there is no {argv[0]}: install iptables") from None
    except TimeoutError:
        raise NoWall(f"{argv[0]} does not end") from None


def _is_here(address: str) -> bool:
    """Whether this process's network has the address."""
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(kind, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError as error:
            if error.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise
            return False
    return True
