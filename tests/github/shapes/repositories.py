"""Repositories, their refs, commits and files."""

import base64

from tests.github.bare import Entry, FileChange, GitCommit, Signature
from tests.github.model import Json, Protection, Repository, node_id
from tests.github.shapes.accounts import account, stamp
from tests.github.world import World

URLS = {
    "archive": "/{archive_format}{/ref}",
    "assignees": "/assignees{/user}",
    "blobs": "/git/blobs{/sha}",
    "branches": "/branches{/branch}",
    "collaborators": "/collaborators{/collaborator}",
    "comments": "/comments{/number}",
    "commits": "/commits{/sha}",
    "compare": "/compare/{base}...{head}",
    "contents": "/contents/{+path}",
    "contributors": "/contributors",
    "deployments": "/deployments",
    "downloads": "/downloads",
    "events": "/events",
    "forks": "/forks",
    "git_commits": "/git/commits{/sha}",
    "git_refs": "/git/refs{/sha}",
    "git_tags": "/git/tags{/sha}",
    "hooks": "/hooks",
    "issue_comment": "/issues/comments{/number}",
    "issue_events": "/issues/events{/number}",
    "issues": "/issues{/number}",
    "keys": "/keys{/key_id}",
    "labels": "/labels{/name}",
    "languages": "/languages",
    "merges": "/merges",
    "milestones": "/milestones{/number}",
    "notifications": "/notifications{?since,all,participating}",
    "pulls": "/pulls{/number}",
    "releases": "/releases{/id}",
    "stargazers": "/stargazers",
    "statuses": "/statuses/{sha}",
    "subscribers": "/subscribers",
    "subscription": "/subscription",
    "tags": "/tags",
    "teams": "/teams",
    "trees": "/git/trees{/sha}",
}
ZEROS = (
    "size",
    "stargazers_count",
    "watchers",
    "watchers_count",
    "forks",
    "forks_count",
    "network_count",
    "subscribers_count",
)
NOTHING = ("description", "homepage", "language", "license", "mirror_url")
YES = ("has_issues", "has_projects", "has_wiki", "has_downloads", "allow_forking")
UNPROTECTED = (
    "required_linear_history",
    "allow_force_pushes",
    "allow_deletions",
    "block_creations",
    "required_conversation_resolution",
    "lock_branch",
    "allow_fork_syncing",
)
NO = (
    "has_pages",
    "has_discussions",
    "disabled",
    "is_template",
    "web_commit_signoff_required",
    "allow_auto_merge",
    "allow_update_branch",
    "delete_branch_on_merge",
)


def api(world: World, repository: Repository) -> str:
    return f"{world.api_url}/repos/{repository.full_name}"


def repository(world: World, one: Repository) -> Json:
    base, web = api(world, one), f"{world.url}/{one.full_name}"
    host = world.url.partition("://")[2]
    open_pulls = sum(pull.state == "open" for pull in one.pulls.values())
    return {
        "id": one.id,
        "node_id": node_id("Repository", one.id),
        "name": one.name,
        "full_name": one.full_name,
        "owner": account(world, one.owner),
        "private": one.private,
        "archived": one.archived,
        "visibility": "private" if one.private else "public",
        "fork": one.parent is not None,
        "url": base,
        **{f"{key}_url": base + path for key, path in URLS.items()},
        "html_url": web,
        "clone_url": one.clone_url,
        "git_url": f"git://{host}/{one.full_name}.git",
        "ssh_url": f"git@{host.partition(':')[0]}:{one.full_name}.git",
        "svn_url": web,
        "default_branch": one.default_branch,
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.pushed_at),
        "pushed_at": stamp(one.pushed_at),
        "open_issues": open_pulls,
        "open_issues_count": open_pulls,
        "topics": [],
        **dict.fromkeys(NOTHING),
        **dict.fromkeys(ZEROS, 0),
        **dict.fromkeys(YES, True),
        **dict.fromkeys(NO, False),
    }


def git_user(signature: Signature) -> Json:
    return {"name": signature.name, "email": signature.email, "date": signature.date.isoformat()}


def commit(world: World, one: Repository, git: GitCommit) -> Json:
    base, web = api(world, one), f"{world.url}/{one.full_name}/commit"
    author, committer = (world.user_by_email(who.email) for who in (git.author, git.committer))
    return {
        "sha": git.sha,
        "node_id": node_id("Commit", one.id),
        "url": f"{base}/commits/{git.sha}",
        "html_url": f"{web}/{git.sha}",
        "comments_url": f"{base}/commits/{git.sha}/comments",
        "commit": {
            "url": f"{base}/git/commits/{git.sha}",
            "author": git_user(git.author),
            "committer": git_user(git.committer),
            "message": git.message,
            "comment_count": 0,
            "tree": {"sha": git.tree, "url": f"{base}/git/trees/{git.tree}"},
            "verification": {
                "verified": False,
                "reason": "unsigned",
                "signature": None,
                "payload": None,
                "verified_at": None,
            },
        },
        "author": account(world, author) if author else None,
        "committer": account(world, committer) if committer else None,
        "parents": [
            {"sha": sha, "url": f"{base}/commits/{sha}", "html_url": f"{web}/{sha}"} for sha in git.parents
        ],
    }


def file_change(world: World, one: Repository, sha: str, change: FileChange) -> Json:
    web = f"{world.url}/{one.full_name}"
    return {
        "sha": change.blob,
        "filename": change.path,
        "status": change.status,
        "additions": change.additions,
        "deletions": change.deletions,
        "changes": change.additions + change.deletions,
        "blob_url": f"{web}/blob/{sha}/{change.path}",
        "raw_url": f"{web}/raw/{sha}/{change.path}",
        "contents_url": f"{api(world, one)}/contents/{change.path}?ref={sha}",
    }


def listed(one: Repository) -> Json:
    """The few words that an installation's events have for a repository."""
    facts = {"name": one.name, "full_name": one.full_name, "private": one.private}
    return {"id": one.id, "node_id": node_id("Repository", one.id), **facts}


def branch(world: World, one: Repository, name: str, sha: str) -> Json:
    base = api(world, one)
    guard = one.protections.get(name)
    classic = Protection() if guard is None or guard.ruleset else guard
    return {
        "name": name,
        "commit": {"sha": sha, "url": f"{base}/commits/{sha}"},
        "protected": guard is not None,
        "protection": {
            "enabled": guard is not None and not guard.ruleset,
            "required_status_checks": {
                "enforcement_level": "non_admins" if classic.checks else "off",
                "contexts": list(classic.checks),
                "checks": checks(classic),
            },
        },
        "protection_url": f"{base}/branches/{name}/protection",
    }


def checks(one: Protection) -> list[Json]:
    return [{"context": name, "app_id": None} for name in one.checks]


def protection(world: World, on: Repository, name: str, one: Protection) -> Json:
    """The whole protection of a branch, which administrators may read."""
    base = f"{api(world, on)}/branches/{name}/protection"
    shape: Json = {
        "url": base,
        "required_signatures": {"url": f"{base}/required_signatures", "enabled": False},
        "enforce_admins": {"url": f"{base}/enforce_admins", "enabled": False},
        **{key: {"enabled": False} for key in UNPROTECTED},
    }
    if one.checks:
        shape["required_status_checks"] = {
            "url": f"{base}/required_status_checks",
            "strict": one.strict,
            "contexts": list(one.checks),
            "contexts_url": f"{base}/required_status_checks/contexts",
            "checks": checks(one),
        }
    if one.reviews:
        shape["required_pull_request_reviews"] = {
            "url": f"{base}/required_pull_request_reviews",
            "dismiss_stale_reviews": False,
            "require_code_owner_reviews": False,
            "require_last_push_approval": False,
            "required_approving_review_count": one.reviews,
        }
    return shape


def rules(on: Repository, one: Protection) -> list[Json]:
    """The same as the rules of a rule set, which who may read the repository may read."""
    source = {"ruleset_source_type": "Repository", "ruleset_source": on.full_name, "ruleset_id": on.id}
    found: list[Json] = []
    if one.reviews:
        wish = {
            "required_approving_review_count": one.reviews,
            "dismiss_stale_reviews_on_push": False,
            "require_code_owner_review": False,
            "require_last_push_approval": False,
            "required_review_thread_resolution": False,
        }
        found.append({"type": "pull_request", "parameters": wish, **source})
    if one.checks:
        contexts = [{"context": name} for name in one.checks]
        checked: Json = {
            "required_status_checks": contexts,
            "strict_required_status_checks_policy": one.strict,
            "do_not_enforce_on_create": False,
        }
        found.append({"type": "required_status_checks", "parameters": checked, **source})
    return found


def branch_with_commit(world: World, one: Repository, name: str, git: GitCommit) -> Json:
    links = {
        "self": f"{api(world, one)}/branches/{name}",
        "html": f"{world.url}/{one.full_name}/tree/{name}",
    }
    return {
        **branch(world, one, name, git.sha),
        "commit": commit(world, one, git),
        "_links": links,
    }


def git_ref(world: World, one: Repository, ref: str, sha: str, kind: str) -> Json:
    base = api(world, one)
    return {
        "ref": ref,
        "node_id": node_id("Ref", one.id),
        "url": f"{base}/git/{ref}",
        "object": {"type": kind, "sha": sha, "url": f"{base}/git/{kind}s/{sha}"},
    }


def content(world: World, one: Repository, ref: str, entry: Entry, data: bytes | None = None) -> Json:
    """A file with its `data`, or without it one line of a directory's listing."""
    base, web = api(world, one), f"{world.url}/{one.full_name}"
    kind = {"blob": "file", "tree": "dir", "commit": "submodule"}.get(entry.kind, entry.kind)
    links = {
        "self": f"{base}/contents/{entry.path}?ref={ref}",
        "git": f"{base}/git/{'trees' if kind == 'dir' else 'blobs'}/{entry.sha}",
        "html": f"{web}/{'tree' if kind == 'dir' else 'blob'}/{ref}/{entry.path}",
    }
    shape: Json = {
        "type": kind,
        "name": entry.path.rpartition("/")[2],
        "path": entry.path,
        "sha": entry.sha,
        "size": entry.size or 0,
        "url": links["self"],
        "git_url": links["git"],
        "html_url": links["html"],
        "download_url": f"{web}/raw/{ref}/{entry.path}" if kind == "file" else None,
        "_links": links,
    }
    if data is None:
        return shape
    if kind == "symlink":
        return {**shape, "target": data.decode()}
    return {**shape, "encoding": "base64", "content": base64.encodebytes(data).decode()}
