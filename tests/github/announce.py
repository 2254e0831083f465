"""Events as GitHub words them, given to every hook that wants them."""

from collections.abc import Mapping

from tests.github.bare import ZERO, GitCommit
from tests.github.feed import PullChanged
from tests.github.model import (
    CheckRun,
    Comment,
    Deployment,
    DeploymentStatus,
    Installation,
    Issue,
    Json,
    Pull,
    Release,
    Repository,
    Review,
    Status,
    User,
    node_id,
)
from tests.github.shapes import accounts, apps, checks, pulls, reports, repositories, reviews
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
    repository, number = comment.repository, comment.number
    issue = repository.pulls.get(number) or repository.issues[number]
    payload: Json = {
        "action": action,
        "issue": pulls.issue(world, issue),
        "comment": pulls.comment(world, comment),
    }
    if before is not None:
        payload["changes"] = {"body": {"from": before}}
    announce(world, "issue_comment", comment.repository, sender, payload)


def pull_labelled(world: World, pull: Pull, action: str, sender: User, name: str) -> None:
    label = pulls.labels(world, pull.repository, [name])[0]
    pull_changed(world, pull, action, sender, {"label": label})


def app_ping(world: World) -> None:
    """To a new App's hook."""
    hook = world.app.hook
    world.post.send(hook, "ping", {"zen": ZEN, "hook_id": hook.id, "hook": apps.hook(world, hook)})


def owner(world: World, user: User) -> Json:
    """An account where an event names an owner: the kind decides the form."""
    kind = accounts.organization if user.kind == "Organization" else accounts.account
    return kind(world, user)


def issue_changed(world: World, issue: Issue, action: str, sender: User) -> None:
    announce(
        world, "issues", issue.repository, sender, {"action": action, "issue": pulls.issue(world, issue)}
    )


def reviewed(world: World, review: Review) -> None:
    pull = review.pull
    # An event has the state in small letters, the API in capitals.
    shape = reviews.review(world, review) | {"state": review.state.lower()}
    payload = {"action": "submitted", "review": shape, "pull_request": pulls.simple_pull(world, pull)}
    announce(world, "pull_request_review", pull.repository, review.user, payload)


def released(world: World, release: Release, action: str) -> None:
    payload = {"action": action, "release": reviews.release(world, release)}
    announce(world, "release", release.repository, release.author, payload)


def check_run_changed(world: World, run: CheckRun, action: str, branch: str | None, sender: User) -> None:
    payload = {"action": action, "check_run": checks.run_in_event(world, run, branch)}
    announce(world, "check_run", run.repository, sender, payload)


def check_run_action(world: World, run: CheckRun, identifier: str, branch: str | None, sender: User) -> None:
    about = {
        "check_run": checks.run_in_event(world, run, branch),
        "requested_action": {"identifier": identifier},
    }
    announce(world, "check_run", run.repository, sender, {"action": "requested_action", **about})


async def check_suite_rerequested(
    world: World, repository: Repository, sha: str, branch: str | None, sender: User
) -> None:
    runs = [one for one in world.check_runs.values() if (one.repository, one.sha) == (repository, sha)]
    shape = checks.suite(world, repository, sha, branch, runs, next(world.ids))
    shape["head_commit"] = await _head_commit(repository, sha)
    announce(world, "check_suite", repository, sender, {"action": "rerequested", "check_suite": shape})


async def merge_group_requested(
    world: World, repository: Repository, base: str, base_sha: str, ref: str, sha: str, sender: User
) -> None:
    group = {
        "head_sha": sha,
        "head_ref": ref,
        "base_sha": base_sha,
        "base_ref": f"refs/heads/{base}",
        "head_commit": await _head_commit(repository, sha),
    }
    announce(world, "merge_group", repository, sender, {"action": "checks_requested", "merge_group": group})


async def _head_commit(repository: Repository, sha: str) -> Json:
    one = await repository.bare.commit(sha)
    return {
        "id": one.sha,
        "tree_id": one.tree,
        "message": one.message,
        "timestamp": one.committer.date.isoformat(),
        "author": {"name": one.author.name, "email": one.author.email},
        "committer": {"name": one.committer.name, "email": one.committer.email},
    }


def repository_changed(
    world: World, repository: Repository, action: str, sender: User, changes: Json | None = None
) -> None:
    payload: Json = {"action": action, **({"changes": changes} if changes else {})}
    announce(world, "repository", repository, sender, payload)


def deployment_made(world: World, deployment: Deployment) -> None:
    payload = {
        "action": "created",
        "deployment": reports.deployment(world, deployment),
        "workflow": None,
        "workflow_run": None,
    }
    announce(world, "deployment", deployment.repository, deployment.creator, payload)


def deployment_moved(world: World, deployment: Deployment, status: DeploymentStatus) -> None:
    payload = {
        "action": "created",
        "deployment": reports.deployment(world, deployment),
        "deployment_status": reports.deployment_status(world, deployment, status),
        "check_run": None,
        "workflow": None,
        "workflow_run": None,
    }
    announce(world, "deployment_status", deployment.repository, status.creator, payload)


async def status_posted(world: World, one: Status) -> None:
    repository, made = one.repository, accounts.stamp(one.created_at)
    heads = await repository.bare.refs("refs/heads/")
    url = f"{repositories.api(world, repository)}/commits/{one.sha}"
    payload = {
        "id": one.id,
        "sha": one.sha,
        "name": repository.full_name,
        "avatar_url": f"{world.url}/avatars/u/{one.creator.id}?v=4",
        "target_url": one.target_url,
        "context": one.context,
        "description": one.description,
        "state": one.state,
        "commit": repositories.commit(world, repository, await repository.bare.commit(one.sha)),
        "branches": [
            {"name": ref.split("/", 2)[2], "commit": {"sha": sha, "url": url}, "protected": False}
            for ref, sha in heads.items()
            if sha == one.sha
        ],
        "created_at": made,
        "updated_at": made,
    }
    announce(world, "status", repository, one.creator, payload)


def installation_changed(world: World, one: Installation, action: str, sender: User) -> None:
    """The App hears of these whatever it is subscribed to."""
    found = [repositories.listed(world.repositories[number]) for number in sorted(one.repositories)]
    _to_app(world, "installation", one, sender, {"action": action, "repositories": found, "requester": None})


def installation_reached(
    world: World, one: Installation, sender: User, added: list[Repository], removed: list[Repository]
) -> None:
    payload = {
        "action": "added" if added else "removed",
        "repository_selection": "selected",
        "repositories_added": [repositories.listed(each) for each in added],
        "repositories_removed": [repositories.listed(each) for each in removed],
        "requester": None,
    }
    _to_app(world, "installation_repositories", one, sender, payload)


def _to_app(world: World, event: str, one: Installation, sender: User, payload: Json) -> None:
    shape = apps.installation(world, one)
    if world.app.hook.url:
        full = {**payload, "installation": shape, "sender": accounts.account(world, sender)}
        world.post.send(world.app.hook, event, full)
