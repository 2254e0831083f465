"""Heads of branches and pull requests that nobody told us about become deliveries of our own making.

So the usual path decides about them, and builds only the newest commit of each. What was looked at
once is marked, whatever was decided: nothing repeats. The first look at a repository only notes the
branches and pull requests that it never ran: they are older than the bot.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlmodel import col, select

from bot.github.client import GitHubRefused, GitHubUnavailable
from bot.github.forge import GitHub
from bot.store.database import Store
from bot.store.tables import Delivery, Pull, Repository, Run
from bot.sweeps import marks
from config.errors import ConfigError
from config.repository import FILE, parse
from workers.contract.messages import now

EVERY = 300.0  # seconds
GRACE = 30.0  # seconds that a delivery of GitHub's may be on its way
_NONE = "0" * 40
_BRANCH = "refs/heads/"
_CLOSED = "closed"

log = structlog.get_logger()


async def sweep(store: Store, github: GitHub, grace: float = GRACE) -> None:
    """Look at the heads of all active repositories that were ever run."""
    for repository in await marks.watched(store):
        try:
            await _look(store, github, repository, now() - timedelta(seconds=grace))
        except GitHubUnavailable as error:
            log.warning("heads are looked at later", error=str(error))
            return
        except GitHubRefused as error:
            log.warning("heads not seen", repository=repository.full_name, error=str(error))


async def _look(store: Store, github: GitHub, repository: Repository, before: datetime) -> None:
    """Compare one repository's heads with what is known; what moved after `before` waits its turn."""
    about = await github.about(repository)
    if about.get("archived"):
        return
    mark = f"heads:{repository.id}"
    said = await marks.read(store, mark)
    seen: dict[str, str] | None = json.loads(said) if said else None
    made: list[Delivery] = []
    now_seen = await _branches(store, github, repository, about, seen, before, made)
    now_seen |= await _pulls(store, github, repository, about, seen, before, made)
    async with store.transaction() as session:
        for delivery in made:
            session.add(delivery)
        await marks.move(session, mark, json.dumps(now_seen))
    for delivery in made:
        store.instruments.found("heads")
        log.info("a head that nobody told us", repository=repository.full_name, delivery=delivery.guid)


def news(heads: Mapping[str, str], seen: Mapping[str, str] | None, ran: Collection[str]) -> dict[str, str]:
    """The heads to be looked at: those that moved; at a first look only of refs that were run before."""
    if seen is None:
        return {ref: sha for ref, sha in heads.items() if ref in ran}
    return {ref: sha for ref, sha in heads.items() if seen.get(ref) != sha}


async def _branches(
    store: Store,
    github: GitHub,
    repository: Repository,
    about: dict[str, Any],
    seen: dict[str, str] | None,
    before: datetime,
    made: list[Delivery],
) -> dict[str, str]:
    """Add a push for each tracked branch that moved unheard; gives the heads that are settled."""
    default = about["default_branch"]
    every = await github.branch_heads(repository)
    tracked = await _tracked(github, repository, default, every)
    last = await _last_run(store, repository, tracked)
    settled, recent = dict(tracked), _pushed_at(about) > before
    for ref, sha in news(tracked, seen, last).items():
        if last.get(ref) == sha or await _told(store, repository, ref, sha):
            continue
        if recent:  # the push that moved it may be on its way
            settled[ref] = (seen or {}).get(ref, last.get(ref, ""))
            continue
        made.append(await _push(github, repository, about, ref, (seen or {}).get(ref) or last.get(ref), sha))
    return settled


async def _tracked(
    github: GitHub, repository: Repository, default: str, every: Mapping[str, str]
) -> dict[str, str]:
    """The heads of the branches whose pushes reach an environment, by ref."""
    try:
        text = await github.file(repository, FILE, every[default]) if default in every else None
        names = await asyncio.to_thread(_taken, text, every, default)
    except ConfigError:  # which others are tracked can't be known; the push itself will complain
        names = [name for name in every if name == default]
    return {_BRANCH + name: every[name] for name in names}


def _taken(text: str | None, names: Iterable[str], default: str) -> list[str]:
    """The branches that a file's environments take pushes to. Raises ConfigError."""
    places = parse(text).environments.values()
    return [name for name in names if any(place.takes_push(name, default) for place in places)]


async def _last_run(store: Store, repository: Repository, refs: Collection[str]) -> dict[str, str]:
    """The newest commit that was run of each ref."""
    runs = select(Run).where(Run.repository_id == repository.id).order_by(col(Run.id).desc())
    found: dict[str, str] = {}
    async with store.reading() as session:
        for ref in refs:
            newest = (await session.exec(runs.where(Run.ref == ref).limit(1))).first()
            if newest is not None:
                found[ref] = newest.sha
    return found


async def _told(store: Store, repository: Repository, ref: str, sha: str) -> bool:
    """Whether some push told us of this head of the ref, whatever came of it."""
    pushes = select(Delivery.payload).where(
        Delivery.repository_id == repository.id,
        Delivery.event == "push",
        col(Delivery.payload).contains(sha),
    )
    async with store.reading() as session:
        payloads = [json.loads(text) for text in (await session.exec(pushes)).all()]
    return any(push.get("ref") == ref and push.get("after") == sha for push in payloads)


async def _push(
    github: GitHub, repository: Repository, about: dict[str, Any], ref: str, before: str | None, sha: str
) -> Delivery:
    """https://docs.github.com/webhooks/webhook-events-and-payloads#push"""
    commit = await github.commit(repository, sha)
    head = _pushed(commit)
    told = {**about, "pushed_at": int(_pushed_at(about).timestamp())}  # as pushes have it
    payload = marks.surroundings(repository, told) | {
        "ref": ref,
        "before": before or _NONE,
        "after": sha,
        "created": not before,
        "deleted": False,
        "forced": True,  # whatever lies between was not heard of: no path filter may look at less
        "base_ref": None,
        "commits": [head],
        "head_commit": head,
        # Who pushed it is not known: what a commit says of its author is anybody's word.
        "pusher": {"name": ""},
        "sender": {"login": ""},
    }
    return _delivery(repository, "push", None, payload)


def _pushed_at(about: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(about["pushed_at"] or about["created_at"])


def _pushed(commit: dict[str, Any]) -> dict[str, Any]:
    """A commit as pushes tell it."""
    told = commit["commit"]
    files: dict[str, list[str]] = {"added": [], "removed": [], "modified": []}
    for file in commit.get("files") or ():
        files[file["status"] if file["status"] in files else "modified"].append(file["filename"])
    return {
        "id": commit["sha"],
        "tree_id": told["tree"]["sha"],
        "distinct": True,
        "message": told["message"],
        "timestamp": told["committer"]["date"],
        "author": told["author"],
        "committer": told["committer"],
        **files,
    }


async def _pulls(
    store: Store,
    github: GitHub,
    repository: Repository,
    about: dict[str, Any],
    seen: dict[str, str] | None,
    before: datetime,
    made: list[Delivery],
) -> dict[str, str]:
    """Add an event for each pull request that changed unheard; gives the heads that are settled."""
    async with store.reading() as session:
        mine = select(Pull).where(Pull.repository_id == repository.id)
        rows = {f"pull/{row.number}": row for row in (await session.exec(mine)).all()}
    heads = {f"pull/{number}": sha for number, sha in (await github.open_pulls(repository)).items()}
    settled = dict(heads)
    wanted = {ref: _action(rows.get(ref), sha) for ref, sha in news(heads, seen, rows).items()}
    gone = [ref for ref, row in rows.items() if row.open and ref not in heads]
    settled |= dict.fromkeys(gone, _CLOSED)
    wanted |= {ref: _CLOSED for ref in gone if (seen or {}).get(ref) != _CLOSED}
    for ref, action in wanted.items():
        if action is None:
            continue
        pull = await github.pull_payload(repository, int(ref.removeprefix("pull/")))
        if datetime.fromisoformat(pull["updated_at"]) > before:
            settled[ref] = (seen or {}).get(ref, "")
            continue
        payload = marks.surroundings(repository, about) | {
            "action": action,
            "number": pull["number"],
            "pull_request": pull,
            "sender": {"login": ""},
        }
        made.append(_delivery(repository, "pull_request", action, payload))
    return settled


def _action(row: Pull | None, sha: str) -> str | None:
    """What must have happened to an open pull request, None if nothing did."""
    if row is None:
        return "opened"
    if not row.open:
        return "reopened"
    return None if row.head_sha == sha else "synchronize"


def _delivery(repository: Repository, event: str, action: str | None, payload: dict[str, Any]) -> Delivery:
    return Delivery(
        guid=marks.guid(),
        event=event,
        action=action,
        repository_id=repository.id,
        payload=json.dumps(payload),
    )
