"""Where the broker is, and what a URL or a file that is wrong is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.parts.certificates import authority, server
from workers.contract.broker_address import Certificates, nodes, place
from workers.contract.queue import QueueRefused


@pytest.mark.parametrize(
    ("url", "each", "told"),
    [
        ("amqp://u:p@a/", ["amqp://u:p@a/"], "RabbitMQ at a:5672/"),
        (
            "amqps://u:p,%2C@a,b:1,[::1]:2/shop?auth=external",
            [
                "amqps://u:p,%2C@a/shop?auth=external",
                "amqps://u:p,%2C@b:1/shop?auth=external",
                "amqps://u:p,%2C@[::1]:2/shop?auth=external",
            ],
            "RabbitMQ at a:5671, b:1, [::1]:2/shop",
        ),
        ("amqp://a, b", ["amqp://a", "amqp://b"], "RabbitMQ at a:5672, b:5672/"),
    ],
)
def test_a_url_names_the_nodes_of_a_cluster(url: str, each: list[str], told: str) -> None:
    assert nodes(url) == each
    assert place(url) == told


@pytest.mark.parametrize("url", ["amqp://a,", "amqp://,a/", "amqp://a,b:x/", "a,b", "http://a,b/"])
def test_a_node_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(QueueRefused, match="further nodes of a cluster by commas"):
        nodes(url)


def test_without_files_the_machine_decides_whom_it_believes() -> None:
    assert Certificates().context() is None


def test_files_that_are_none_are_named_with_their_setting(tmp_path: Path) -> None:
    ours, theirs = authority(), authority()
    own = server("worker", ours).write(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    key = Path(server("worker", theirs).write(other)["key"])
    certificate = Path(own["certificate"])

    for certificates, why in [
        (Certificates(tmp_path / "none"), "BLACKTREE_QUEUE_CA: .*none: No such file"),
        (Certificates(key), "BLACKTREE_QUEUE_CA: .*tls.key: no certificate or key in PEM"),
        (Certificates(own=certificate), "BLACKTREE_QUEUE_CERTIFICATE, BLACKTREE_QUEUE_KEY: .*no certificate"),
        (Certificates(own=certificate, key=key), "not of each other .KEY_VALUES_MISMATCH"),
    ]:
        with pytest.raises(QueueRefused, match=why):
            certificates.context()
    assert Certificates(own=certificate, key=Path(own["key"])).context() is not None
