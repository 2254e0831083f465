"""Tags and releases. More than three tags pushed at once make no push event, so `create` counts as well."""

from __future__ import annotations

from typing import Any

from gidgethub import sansio

from bot.decisions import plan
from bot.decisions.decision import Cause, Decision
from bot.decisions.desk import Desk, bad_config
from bot.decisions.events.router import Router
from config.errors import ConfigError

router = Router()

TAG = "refs/tags/"


@router.on("create")
async def created(event: sansio.Event, desk: Desk) -> Decision:
    if event.data["ref_type"] != "tag":
        return Decision(f"ignored: the push of {event.data['ref']} tells the same")
    return await tagged(desk, event.data["ref"], _actor(event.data))


@router.on("delete")
async def deleted(event: sansio.Event, _desk: Desk) -> Decision:
    return Decision(f"ignored: {event.data['ref_type']} {event.data['ref']} was deleted")


@router.on("release", action="published")
async def released(event: sansio.Event, desk: Desk) -> Decision:
    release = event.data["release"]
    tag = release["tag_name"]
    sha = await desk.github.tag_commit(desk.repository, tag)
    if sha is None:
        return Decision(f"ignored: there is no tag {tag}")
    key = f"release:{desk.repository.id}:{release['id']}:{sha}"
    cause = Cause("release", key, TAG + tag, sha, _actor(event.data))
    try:
        config = await desk.config(sha)
    except ConfigError as error:
        return bad_config(sha, error)
    jobs = plan.release(config, tag, sha)
    if not jobs:
        return Decision("ignored: no environment takes releases")
    return Decision(f"runs {sha[:7]} of release {tag}", desk.caused(cause, config), tuple(jobs))


async def tagged(desk: Desk, tag: str, actor: str, sha: str | None = None) -> Decision:
    """Run a tag's commit, once, whichever event told of it."""
    sha = sha or await desk.github.tag_commit(desk.repository, tag)
    if sha is None:
        return Decision(f"ignored: the tag {tag} is gone")
    try:
        config = await desk.config(sha)
    except ConfigError as error:
        return bad_config(sha, error)
    jobs = plan.tag(config, tag, sha)
    if not jobs:
        return Decision(f"ignored: no environment takes the tag {tag}")
    cause = Cause("tag", f"tag:{desk.repository.id}:{tag}:{sha}", TAG + tag, sha, actor)
    return Decision(f"runs {sha[:7]} of tag {tag}", desk.caused(cause, config), tuple(jobs))


def _actor(payload: dict[str, Any]) -> str:
    return str((payload.get("sender") or {}).get("login", ""))
