"""The App, its installations and tokens, hooks and deliveries."""

from tests.github.model import Delivery, Hook, Installation, InstallationToken, Json, node_id
from tests.github.shapes.accounts import account, maybe, stamp
from tests.github.shapes.repositories import api, repository
from tests.github.world import World

HIDDEN = "********"


def app(world: World) -> Json:
    one = world.app
    return {
        "id": one.id,
        "slug": one.slug,
        "client_id": one.client_id,
        "node_id": node_id("Integration", one.id),
        "owner": account(world, one.owner),
        "name": one.name,
        "description": "",
        "external_url": one.website,
        "html_url": f"{world.url}/apps/{one.slug}",
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.created_at),
        "permissions": one.permissions,
        "events": sorted(one.events),
    }


def converted(world: World) -> Json:
    """The App with all its secrets: the answer to a manifest's code."""
    one = world.app
    return {
        **app(world),
        "client_secret": one.client_secret,
        "webhook_secret": one.webhook_secret if one.hook_url else None,
        "pem": one.private_key,
    }


def installation(world: World, one: Installation) -> Json:
    base = f"{world.api_url}/app/installations/{one.id}"
    return {
        "id": one.id,
        "account": account(world, one.account),
        "repository_selection": "selected",
        "access_tokens_url": f"{base}/access_tokens",
        "repositories_url": f"{world.api_url}/installation/repositories",
        "html_url": f"{world.url}/settings/installations/{one.id}",
        "app_id": world.app.id,
        "app_slug": world.app.slug,
        "target_id": one.account.id,
        "target_type": one.account.kind,
        "permissions": one.permissions,
        "events": sorted(world.app.events),
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.created_at),
        "single_file_name": None,
        "has_multiple_single_files": False,
        "single_file_paths": [],
        "suspended_by": account(world, one.account) if one.suspended_at else None,
        "suspended_at": maybe(one.suspended_at),
    }


def installation_token(world: World, one: InstallationToken) -> Json:
    shape: Json = {
        "token": one.token,
        "expires_at": stamp(one.expires_at),
        "permissions": one.permissions,
        "repository_selection": "selected",
    }
    if one.repositories is not None:
        found = [world.repositories[number] for number in sorted(one.repositories)]
        shape["repositories"] = [repository(world, each) for each in found]
    return shape


def hook_config(hook: Hook) -> Json:
    config = {"url": hook.url or "", "content_type": hook.content_type, "insecure_ssl": "0"}
    return config | ({"secret": HIDDEN} if hook.secret else {})


def hook(world: World, one: Hook) -> Json:
    """A repository's hook, or the App's as a ping shows it."""
    shape: Json = {
        "type": "Repository" if one.repository else "App",
        "id": one.id,
        "name": "web",
        "active": one.active,
        "events": sorted(one.events),
        "config": hook_config(one),
        "created_at": stamp(one.created_at),
        "updated_at": stamp(one.created_at),
    }
    if one.repository is None:
        return {**shape, "app_id": world.app.id}
    base = f"{api(world, one.repository)}/hooks/{one.id}"
    last = next((each for each in reversed(world.post.deliveries) if each.hook is one), None)
    return {
        **shape,
        "url": base,
        "test_url": f"{base}/test",
        "ping_url": f"{base}/pings",
        "deliveries_url": f"{base}/deliveries",
        "last_response": {
            "code": last.status_code if last else None,
            "status": ("active" if last.ok else "error") if last else "unused",
            "message": last.status if last else None,
        },
    }


def delivery_item(one: Delivery) -> Json:
    return {
        "id": one.id,
        "guid": one.guid,
        "delivered_at": maybe(one.delivered_at),
        "redelivery": one.redelivery,
        "duration": one.duration,
        "status": one.status,
        "status_code": one.status_code,
        "event": one.event,
        "action": one.action,
        "installation_id": one.installation_id,
        "repository_id": one.repository_id,
        "throttled_at": None,
    }


def delivery(one: Delivery) -> Json:
    return {
        **delivery_item(one),
        "url": one.hook.url or "",
        "request": {"headers": one.request_headers, "payload": one.payload},
        "response": {"headers": one.response_headers, "payload": one.response_body},
    }
