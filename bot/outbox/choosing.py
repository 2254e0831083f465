"""Pure: who wants what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bot.reports.lanes import EVERY, Lane
from bot.store.tables import Webhook
from config.channels import Channel, Told, wants


def channels(
    own: Mapping[str, Channel],
    instance: Sequence[Told],
    repository: tuple[int, str] | None,
    event: str,
    environment: str,
) -> list[Lane]:
    """The channels that an event goes to: the repository's `own`, and those of the `instance`.

    Where a repository's file names one of the instance's, what it says there counts for the repository.
    """
    id_, full_name = repository or (0, "")
    known = {one.name for one in instance if one.may_be_named(full_name)}
    lanes = []
    for name, channel in own.items():
        if wants(channel.on, channel.environments, event, environment):
            if channel.secret is not None:
                lanes.append(Lane(repository_id=id_, channel=name))
            elif name in known:
                lanes.append(Lane(channel=name))
    for told in instance:
        said = own.get(told.name)
        if said is not None and said.secret is None:
            continue
        here = repository is None or told.of_repository(full_name)
        if here and wants(told.on, (), event, environment):
            lanes.append(Lane(channel=told.name))
    return lanes


def webhooks(rows: Sequence[Webhook], repository_id: int | None, event: str) -> list[Lane]:
    """The webhooks that an event goes to."""
    return [
        Lane(webhook=row.id or 0)
        for row in rows
        if not row.disabled
        and row.repository_id in (None, repository_id)
        and (event in row.events or EVERY in row.events)
    ]
