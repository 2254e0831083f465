"""Users, organisations, bots."""

from datetime import datetime

from tests.github.model import Json, Permission, Repository, User, node_id
from tests.github.world import World

USER_URLS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}
ORGANIZATION_URLS = {
    "repos_url": "/repos",
    "events_url": "/events",
    "hooks_url": "/hooks",
    "issues_url": "/issues",
    "members_url": "/members{/member}",
    "public_members_url": "/public_members{/member}",
}
UNKNOWN = ("name", "company", "blog", "location", "email", "hireable", "bio", "twitter_username")
COUNTS = (
    "public_repos",
    "public_gists",
    "followers",
    "following",
    "private_gists",
    "total_private_repos",
    "owned_private_repos",
    "disk_usage",
    "collaborators",
)
BASE_ROLE: dict[Permission, str] = {"maintain": "write", "triage": "read"}


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def maybe(moment: datetime | None) -> str | None:
    return stamp(moment) if moment else None


def account(world: World, user: User) -> Json:
    base = f"{world.api_url}/users/{user.login}"
    page = f"apps/{user.login.removesuffix('[bot]')}" if user.kind == "Bot" else user.login
    return {
        "login": user.login,
        "id": user.id,
        "node_id": node_id("User", user.id),
        "avatar_url": f"{world.url}/avatars/u/{user.id}?v=4",
        "gravatar_id": "",
        "url": base,
        "html_url": f"{world.url}/{page}",
        **{key: base + path for key, path in USER_URLS.items()},
        "type": user.kind,
        "user_view_type": "public",
        "site_admin": False,
    }


def myself(world: World, user: User) -> Json:
    created = stamp(user.created_at)
    return {
        **account(world, user),
        "user_view_type": "private",
        **dict.fromkeys(UNKNOWN),
        **dict.fromkeys(COUNTS, 0),
        "two_factor_authentication": True,
        "created_at": created,
        "updated_at": created,
    }


def organization(world: World, user: User) -> Json:
    base = f"{world.api_url}/orgs/{user.login}"
    return {
        "login": user.login,
        "id": user.id,
        "node_id": node_id("Organization", user.id),
        "url": base,
        **{key: base + path for key, path in ORGANIZATION_URLS.items()},
        "avatar_url": f"{world.url}/avatars/u/{user.id}?v=4",
        "description": None,
    }


def association(repository: Repository, user: User) -> str:
    """GitHub's author_association."""
    if user.login.casefold() == repository.owner.login.casefold():
        return "OWNER"
    if user.login.casefold() not in repository.collaborators:
        return "NONE"
    return "MEMBER" if repository.owner.kind == "Organization" else "COLLABORATOR"


def collaborator_permission(world: World, repository: Repository, user: User) -> Json:
    role = repository.role(user)
    base = BASE_ROLE.get(role, role)
    rights = {
        "admin": base == "admin",
        "maintain": role in ("maintain", "admin"),
        "push": base in ("write", "admin"),
        "triage": role not in ("none", "read"),
        "pull": base != "none",
    }
    someone = {**account(world, user), "permissions": rights, "role_name": role}
    return {"permission": base, "role_name": role, "user": someone}
