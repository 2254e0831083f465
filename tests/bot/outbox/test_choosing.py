"""Who is told of what: the repository's channels, the instance's, webhooks."""

from __future__ import annotations

from typing import Any

import pytest

from bot.outbox import choosing
from bot.reports.lanes import Lane, named
from bot.store.tables import Webhook
from config.channels import parsed

SHOP = (7, "acme/shop")
OPS = "ops: json://h"

# NOTIFY, the file's channels, the event, the environment ▸ the channels that are told.
CHOSEN: dict[str, tuple[str, dict[str, Any], str, str, list[str]]] = {
    "the instance's of all": (OPS, {}, "crash", "production", ["channel:0:ops"]),
    "of these repositories": (f"{OPS} of=acme/*", {}, "crash", "production", ["channel:0:ops"]),
    "of others": (f"{OPS} of=other/*", {}, "crash", "production", []),
    "of others, though this one names it": (f"{OPS} of=other/*", {"ops": {}}, "crash", "production", []),
    "of those that name it": (f"{OPS} of=named", {}, "crash", "production", []),
    "of this one, which names it": (f"{OPS} of=named", {"ops": {}}, "crash", "production", ["channel:0:ops"]),
    "of these events": (f"{OPS} on=task.failed", {}, "crash", "production", []),
    "but the file says which": (
        f"{OPS} on=task.failed",
        {"ops": {"on": ["crash"]}},
        "crash",
        "production",
        ["channel:0:ops"],
    ),
    "no previews": (OPS, {"team": {"secret": "S"}}, "crash", "pr-3", []),
    "previews, where the file wants them": (
        "",
        {"team": {"secret": "S", "environments": ["pr-*"]}},
        "crash",
        "pr-3",
        ["channel:7:team"],
    ),
    "a name that the instance has too, with a secret of its own": (
        OPS,
        {"ops": {"secret": "S"}},
        "crash",
        "production",
        ["channel:7:ops", "channel:0:ops"],
    ),
    "a name that nobody has": ("", {"nobody": {}}, "crash", "production", []),
    "what another version wrote": (
        "",
        {"team": {"secret": "S", "later": 1, "on": ["crash", "of the future"]}},
        "crash",
        "production",
        ["channel:7:team"],
    ),
}


@pytest.mark.parametrize("name", CHOSEN)
def test_a_channel_is_told_what_it_wants_of_whom_it_wants(name: str) -> None:
    notify, own, event, environment, told = CHOSEN[name]
    lanes = choosing.channels(named(own), parsed(notify), SHOP, event, environment)

    assert [str(lane) for lane in lanes] == told
    assert [Lane.read(str(lane)) for lane in lanes] == lanes


def test_a_webhook_is_told_of_its_repository_or_of_all() -> None:
    def hook(id_: int, repository: int | None, events: list[str], disabled: str = "") -> Webhook:
        return Webhook(
            id=id_, repository_id=repository, events=events, disabled=disabled, shown="", sealed=""
        )

    rows = [
        hook(1, None, ["*"]), hook(2, 7, ["job"]), hook(3, 7, ["run"]), hook(4, 8, ["*"]),
        hook(5, 7, ["*"], "off"),
    ]  # fmt: skip
    assert choosing.webhooks(rows, 7, "job") == [Lane(webhook=1), Lane(webhook=2)]
