"""Pull requests, their comments and reactions."""

from collections import Counter

from tests.github.model import REACTIONS, Comment, Issue, Json, Pull, Reaction, Repository, User, node_id
from tests.github.shapes.accounts import account, association, maybe, stamp
from tests.github.shapes.apps import app
from tests.github.shapes.repositories import api, repository
from tests.github.world import World

EMPTY_LISTS = ("assignees", "requested_reviewers", "requested_teams")
NOTHING = ("milestone", "assignee", "active_lock_reason", "auto_merge")
LINKS = {
    "self": "/pulls/{n}",
    "issue": "/issues/{n}",
    "comments": "/issues/{n}/comments",
    "review_comments": "/pulls/{n}/comments",
    "review_comment": "/pulls/comments{{/number}}",
    "commits": "/pulls/{n}/commits",
    "statuses": "/statuses/{sha}",
}


def simple_pull(world: World, pull: Pull) -> Json:
    one = pull.repository
    html = f"{world.url}/{one.full_name}/pull/{pull.number}"
    links = {
        name: api(world, one) + path.format(n=pull.number, sha=pull.head_sha) for name, path in LINKS.items()
    }
    return {
        "id": pull.id,
        "node_id": node_id("PullRequest", pull.id),
        "number": pull.number,
        "state": pull.state,
        "locked": pull.locked,
        "draft": pull.draft,
        "title": pull.title,
        "body": pull.body,
        "user": account(world, pull.user),
        "author_association": association(one, pull.user),
        "url": links["self"],
        "html_url": html,
        "diff_url": f"{html}.diff",
        "patch_url": f"{html}.patch",
        **{f"{name}_url": url for name, url in links.items() if name != "self"},
        "_links": {name: {"href": url} for name, url in (links | {"html": html}).items()},
        "created_at": stamp(pull.created_at),
        "updated_at": stamp(pull.updated_at),
        "closed_at": maybe(pull.closed_at),
        "merged_at": maybe(pull.merged_at),
        "merge_commit_sha": pull.merge_commit_sha,
        "head": _side(world, pull.head, pull.head_sha, pull.head_owner, pull.head_repository),
        "base": _side(world, pull.base, pull.base_sha, one.owner, one),
        "labels": labels(world, one, pull.labels),
        **{key: [] for key in EMPTY_LISTS},
        **dict.fromkeys(NOTHING),
    }


def labels(world: World, one: Repository, names: list[str]) -> list[Json]:
    return [
        {
            "id": 208_045_946 + index,
            "node_id": node_id("Label", 208_045_946 + index),
            "url": f"{api(world, one)}/labels/{name}",
            "name": name,
            "color": "ededed",
            "default": False,
            "description": None,
        }
        for index, name in enumerate(names)
    ]


def _side(world: World, ref: str, sha: str, owner: User, one: Repository | None) -> Json:
    return {
        "label": f"{owner.login}:{ref}",
        "ref": ref,
        "sha": sha,
        "user": account(world, owner),
        "repo": repository(world, one) if one else None,
    }


def pull(world: World, one: Pull) -> Json:
    state = {None: "unknown", True: "clean", False: "dirty"}[one.mergeable]
    return {
        **simple_pull(world, one),
        "merged": one.merged_at is not None,
        "mergeable": one.mergeable,
        "mergeable_state": state,
        "rebaseable": False,
        "merged_by": account(world, one.merged_by) if one.merged_by else None,
        "comments": _comments(world, one),
        "review_comments": 0,
        "maintainer_can_modify": False,
        "commits": one.commits,
        "additions": one.additions,
        "deletions": one.deletions,
        "changed_files": one.changed_files,
    }


def issue(world: World, one: Pull | Issue) -> Json:
    """An issue; a pull request is one too, and says so."""
    base = f"{api(world, one.repository)}/issues/{one.number}"
    kind = "pull" if isinstance(one, Pull) else "issues"
    closed = one.closed_at if isinstance(one, Pull) else None
    shape = {
        "id": one.id + 500_000_000,
        "node_id": node_id("Issue", one.id),
        "number": one.number,
        "state": one.state if isinstance(one, Pull) else "open",
        "state_reason": None,
        "locked": isinstance(one, Pull) and one.locked,
        "title": one.title,
        "body": one.body,
        "user": account(world, one.user),
        "author_association": association(one.repository, one.user),
        "labels": labels(world, one.repository, one.labels),
        "assignees": [],
        **dict.fromkeys(NOTHING[:3]),
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.updated_at),
        "closed_at": maybe(closed),
        "url": base,
        "html_url": f"{world.url}/{one.repository.full_name}/{kind}/{one.number}",
        "repository_url": api(world, one.repository),
        "labels_url": f"{base}/labels{{/name}}",
        "comments_url": f"{base}/comments",
        "events_url": f"{base}/events",
        "timeline_url": f"{base}/timeline",
        "comments": _comments(world, one),
        "reactions": _rollup(f"{base}/reactions", []),
        "performed_via_github_app": None,
    }
    if isinstance(one, Issue):
        return shape
    simple = simple_pull(world, one)
    links = ("url", "html_url", "diff_url", "patch_url", "merged_at")
    return {**shape, "draft": one.draft, "pull_request": {key: simple[key] for key in links}}


def comment(world: World, one: Comment) -> Json:
    base = f"{api(world, one.repository)}/issues"
    url = f"{base}/comments/{one.id}"
    reactions = [reaction for reaction in world.reactions.values() if reaction.comment_id == one.id]
    kind = "issues" if one.number in one.repository.issues else "pull"
    return {
        "id": one.id,
        "node_id": node_id("IssueComment", one.id),
        "url": url,
        "html_url": f"{world.url}/{one.repository.full_name}/{kind}/{one.number}#issuecomment-{one.id}",
        "issue_url": f"{base}/{one.number}",
        "user": account(world, one.user),
        "author_association": association(one.repository, one.user),
        "body": one.body,
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.updated_at),
        "performed_via_github_app": app(world) if one.by_app else None,
        "reactions": _rollup(f"{url}/reactions", reactions),
    }


def reaction(world: World, one: Reaction) -> Json:
    return {
        "id": one.id,
        "node_id": node_id("Reaction", one.id),
        "user": account(world, one.user),
        "content": one.content,
        "created_at": stamp(one.created_at),
    }


def _rollup(url: str, reactions: list[Reaction]) -> Json:
    counted = Counter(one.content for one in reactions)
    return {"url": url, "total_count": len(reactions), **{name: counted[name] for name in REACTIONS}}


def _comments(world: World, one: Pull | Issue) -> int:
    return sum(
        comment.repository is one.repository and comment.number == one.number
        for comment in world.comments.values()
    )
