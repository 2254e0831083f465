"""Three nodes of RabbitMQ that are one broker, as its makers advise: TLS both ways, quorum queues."""

from __future__ import annotations

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.parts.broker import Broker, started_epmd
from tests.parts.certificates import authority, server
from tests.parts.child import Child
from tests.parts.waiting import free_port

_NODES = ("one", "two", "three")
# https://www.rabbitmq.com/docs/cluster-formation, /docs/partitions, /docs/ssl
_CONFIG = """\
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = one@localhost
cluster_formation.classic_config.nodes.2 = two@localhost
cluster_formation.classic_config.nodes.3 = three@localhost
cluster_partition_handling = pause_minority
listeners.ssl.default = 127.0.0.1:{port}
ssl_options.cacertfile = {folder}/ca.pem
ssl_options.certfile = {folder}/localhost/tls.crt
ssl_options.keyfile = {folder}/localhost/tls.key
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
"""


class Cluster:
    """Empty at first; each node is a part, which can be killed and started again."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="blacktree-cluster-"))
        self.folder.chmod(0o755)
        self._epmd: Child | None = None
        self._ports = [free_port() for _ in _NODES]
        epmd = free_port()
        self.nodes = [
            Broker(node=node, epmd_port=epmd, more=_CONFIG.format(port=port, folder=self.folder))
            for node, port in zip(_NODES, self._ports, strict=True)
        ]
        self._epmd_port = epmd

    def url(self, login: str = "") -> str:
        """Of all nodes, by TLS; `login` is USER:PASSWORD."""
        hosts = ",".join(f"localhost:{port}" for port in self._ports)
        return f"amqps://{login}@{hosts}/" if login else f"amqps://{hosts}/"

    @property
    def certificates(self) -> dict[str, str]:
        """The settings of a client."""
        own = self.folder / "client"
        return {
            "queue_ca": str(self.folder / "ca.pem"),
            "queue_certificate": str(own / "tls.crt"),
            "queue_key": str(own / "tls.key"),
        }

    def control(self, *arguments: str) -> str:
        """What rabbitmqctl answers, of any node that is up."""
        return next(node for node in self.nodes if node.pid is not None).control(*arguments)

    def __enter__(self) -> Self:
        ours = authority()
        (self.folder / "ca.pem").write_bytes(ours.pem)
        for name in ("localhost", "client"):
            (self.folder / name).mkdir()
            server(name, ours).write(self.folder / name)
        try:
            self._epmd = started_epmd(self._epmd_port, self.folder)
            with ThreadPoolExecutor(len(_NODES)) as together:
                list(together.map(Broker.start, self.nodes))
            self.control("await_online_nodes", str(len(_NODES)))
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Gone, with its data."""
        for node in self.nodes:
            node.close()
        if self._epmd is not None:
            self._epmd.kill()
        shutil.rmtree(self.folder, ignore_errors=True)
