"""GitHub's form for a new App: a manifest is judged, becomes the App, and gives a code for its keys."""

import asyncio
import json
import re
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from tests.github.access import LEVELS
from tests.github.announce import app_ping
from tests.github.keys import new_key_pair
from tests.github.model import App, Code, Hook, Json, User, random_token
from tests.github.world import World

# https://docs.github.com/apps/sharing-github-apps/registering-a-github-app-from-a-manifest
CODE_LIFETIME = timedelta(hours=1)
LONGEST_NAME = 34
FORM = re.compile(r"(?:/organizations/([^/]+))?/settings/apps/new")
KNOWN = frozenset(
    {
        *("name", "url", "hook_attributes", "redirect_url", "callback_urls", "setup_url", "description"),
        *("public", "default_events", "default_permissions", "request_oauth_on_install", "setup_on_update"),
    }
)
# Which permission an event needs; `installation`, `installation_repositories` and `ping` come unasked, and
# nobody can subscribe to them.
NEEDED = {
    "push": ("contents",),
    "create": ("contents",),
    "delete": ("contents",),
    "release": ("contents",),
    "repository": ("metadata",),
    "pull_request": ("pull_requests",),
    "pull_request_review": ("pull_requests",),
    "pull_request_review_comment": ("pull_requests",),
    "issue_comment": ("issues", "pull_requests"),
    "issues": ("issues",),
    "label": ("issues", "pull_requests", "metadata"),
    "merge_group": ("merge_queues",),
    "check_run": ("checks",),
    "check_suite": ("checks",),
    "status": ("statuses",),
    "deployment": ("deployments",),
    "deployment_status": ("deployments",),
    "member": ("members", "metadata"),
    "meta": ("metadata",),
    "workflow_run": ("actions",),
}
PERMISSIONS = frozenset(
    {
        *("actions", "administration", "checks", "contents", "deployments", "environments", "issues"),
        *("members", "merge_queues", "metadata", "packages", "pull_requests", "repository_hooks"),
        *("secrets", "single_file", "statuses", "workflows"),
    }
)


async def serve_form(world: World, request: Request) -> Response:
    """What a browser's form posts, and at once the answer to the person's click on the page that follows."""
    found = FORM.fullmatch(request.url.path)
    fields = parse_qs((await request.body()).decode(errors="replace"))
    text, state = fields.get("manifest", [""])[0], request.query_params.get("state")
    try:
        manifest = json.loads(text)
    except ValueError:
        manifest = None
    wrong = problems(manifest)
    if wrong:
        listed = "".join(f"<li>{one}</li>" for one in wrong)
        return HTMLResponse(f"<h1>Invalid GitHub App configuration</h1><ul>{listed}</ul>", 422)
    organization = found[1] if found else None
    owner = world.account(organization, "Organization") if organization else world.account("app-owner")
    code = await register(world, manifest, owner)
    query = urlencode({"code": code, **({"state": state} if state else {})}, quote_via=quote)
    target = str(manifest["redirect_url"])
    return RedirectResponse(f"{target}{'&' if urlsplit(target).query else '?'}{query}", 302)


def problems(manifest: Any) -> list[str]:
    """What GitHub would not take, one sentence each."""
    if not isinstance(manifest, dict):
        return ["The manifest is not a JSON object."]
    wrong = [f"{key!r} is not a permitted key." for key in manifest.keys() - KNOWN]
    wrong += [f"{key!r} wasn't supplied." for key in ("url", "redirect_url") if not manifest.get(key)]
    hook = manifest.get("hook_attributes")
    links = {key: manifest.get(key) for key in ("url", "redirect_url", "setup_url")}
    links["hook_attributes.url"] = hook.get("url", "") if isinstance(hook, dict) else None
    for key, link in links.items():
        if link is not None and urlsplit(str(link)).scheme not in ("http", "https"):
            wrong.append(f"{key!r} must be a valid URL.")
    if len(str(manifest.get("name", ""))) > LONGEST_NAME:
        wrong.append(f"Name is too long (maximum is {LONGEST_NAME} characters).")
    asked: dict[str, str] = manifest.get("default_permissions", {})
    for name, level in asked.items():
        if name not in PERMISSIONS or level not in LEVELS[1:]:
            wrong.append(f"Default permission {name}: {level} is unknown.")
    granted = {"metadata", *asked}
    for event in manifest.get("default_events", []):
        if not granted & set(NEEDED.get(event, ())):
            wrong.append(f"Default events unsupported: {event}.")
    return wrong


async def register(world: World, manifest: Json, owner: User) -> str:
    """Make the App, which takes the place of the one that the stand-in had; return the code."""
    private, public = await asyncio.to_thread(new_key_pair)
    wanted: Json = manifest.get("hook_attributes") or {}
    events = frozenset(manifest.get("default_events", ()))
    url, now = wanted.get("url"), world.now()
    number = next(world.ids)
    name = str(manifest.get("name") or f"app-{number}")
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    hook = Hook(next(world.ids), url, random_token("", 40), events, now, active=wanted.get("active", True))
    world.adopt(
        App(
            id=number,
            slug=slug,
            owner=owner,
            bot=world.account(f"{slug}[bot]", "Bot"),
            private_key=private,
            public_key=public,
            hook=hook,
            permissions={"metadata": "read", **manifest.get("default_permissions", {})},
            created_at=now,
            name=name,
            website=str(manifest["url"]),
            callbacks=tuple(manifest.get("callback_urls", ())),
        )
    )
    code = random_token("", 40)
    world.codes[code] = Code(number, now + CODE_LIFETIME)
    if url and hook.active:
        app_ping(world)
    return code
