"""Events as GitHub words them, given to every hook that wants them."""

from collections.abc import Mapping

from tests.github.bare import ZERO, GitCommit
from tests.github.feed import PullChanged
from tests.github.model import Comment, Json, Pull, Repository, User, node_id
from tests.github.shapes import accounts, apps, pulls, repositories
from tests.github.world import World

COMMITS_SHOWN = 2048
ZEN = "Half measures are as bad as nothing at all."


def announce(world: World, event: str, repository: Repository, sender: User, payload: Json) -> None:
    full = {
        **payload,
        "repository": repositories.repository(world, repository) | payload.get("repository", {}),
        "sender": accounts.account(world, sender),
    }
    if repository.owner.kind == "Organization":
        full["organization"] = accounts.organization(world, repository.owner)
    for hook in world.hooks_of(repository, event):
        installation = None if hook.repository else world.installation_of(repository)
        extra = {}
        if installation:
            number = node_id("IntegrationInstallation", installation.id)
            extra["installation"] = {"id": installation.id, "node_id": number}
        world.post.send(hook, event, full | extra)


def ping(world: World, repository: Repository, hook_id: int, sender: User) -> None:
    """To this one hook only, whatever it is subscribed to."""
    hook = world.hooks[hook_id]
    payload = {
        "zen": ZEN,
        "hook_id": hook.id,
        "hook": apps.hook(world, hook),
        "repository": repositories.repository(world, repository),
        "sender": accounts.account(world, sender),
    }
    world.post.send(hook, "ping", payload)


async def pushed(
    world: World, repository: Repository, ref: str, before: str, after: str, sender: User
) -> None:
    """`before` or `after` are 40 zeros for what was created or deleted."""
    bare = repository.bare
    created, deleted = before == ZERO, after == ZERO
    new: list[GitCommit] = []
    head: Json | None = None
    forced = False
    web = f"{world.url}/{repository.full_name}"
    if not deleted:
        tip = await bare.resolve(after)
        head = await _commit(world, repository, await bare.commit(tip)) if tip else None
        if created and ref.startswith("refs/heads/"):
            others = [sha for name, sha in (await bare.refs("refs/heads/")).items() if name != ref]
            new = await bare.commits(after, "--not", *others, limit=COMMITS_SHOWN) if others else []
        elif not created and ref.startswith("refs/heads/"):
            forced = not await bare.is_ancestor(before, after)
            new = await bare.commits(f"{before}..{after}", limit=COMMITS_SHOWN)
    now = int(world.now().timestamp())
    announce(
        world,
        "push",
        repository,
        sender,
        {
            "ref": ref,
            "before": before,
            "after": after,
            "created": created,
            "deleted": deleted,
            "forced": forced,
            "base_ref": None,
            "compare": f"{web}/compare/{before[:12]}...{after[:12]}",
            "commits": [await _commit(world, repository, one) for one in reversed(new)],
            "head_commit": head,
            "pusher": {"name": sender.login, "email": sender.email},
            # Only in this event GitHub gives these two in seconds.
            "repository": {
                "created_at": int(repository.created_at.timestamp()),
                "pushed_at": now,
                "master_branch": repository.default_branch,
            },
        },
    )


async def _commit(world: World, repository: Repository, one: GitCommit) -> Json:
    changes = await repository.bare.changes(one)
    return {
        "id": one.sha,
        "tree_id": one.tree,
        "distinct": True,
        "message": one.message,
        "timestamp": one.committer.date.isoformat(),
        "url": f"{world.url}/{repository.full_name}/commit/{one.sha}",
        "author": _person(world, one.author.name, one.author.email),
        "committer": _person(world, one.committer.name, one.committer.email),
        "added": [each.path for each in changes if each.status == "added"],
        "removed": [each.path for each in changes if each.status == "removed"],
        "modified": [each.path for each in changes if each.status == "modified"],
    }


def _person(world: World, name: str, email: str) -> Json:
    user = world.user_by_email(email)
    return {"name": name, "email": email, **({"username": user.login} if user else {})}


def ref_made(world: World, repository: Repository, ref: str, sender: User, *, deleted: bool = False) -> None:
    """`create` or `delete`, for a branch or a tag."""
    kind = "tag" if ref.startswith("refs/tags/") else "branch"
    payload: Json = {"ref": ref.split("/", 2)[2], "ref_type": kind, "pusher_type": "user"}
    if not deleted:
        payload |= {"master_branch": repository.default_branch, "description": None}
    announce(world, "delete" if deleted else "create", repository, sender, payload)


def pull_changed(
    world: World, pull: Pull, action: str, sender: User, more: Mapping[str, object] | None = None
) -> None:
    payload: Json = {
        "action": action,
        "number": pull.number,
        "pull_request": pulls.pull(world, pull),
        **(more or {}),
    }
    announce(world, "pull_request", pull.repository, sender, payload)
    world.feed.publish(PullChanged(pull, action))


def comment_changed(
    world: World, comment: Comment, action: str, sender: User, before: str | None = None
) -> None:
    pull = comment.repository.pulls[comment.number]
    payload: Json = {
        "action": action,
        "issue": pulls.issue(world, pull),
        "comment": pulls.comment(world, comment),
    }
    if before is not None:
        payload["changes"] = {"body": {"from": before}}
    announce(world, "issue_comment", comment.repository, sender, payload)
