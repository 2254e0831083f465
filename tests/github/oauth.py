"""Signing people in by the App: a code for who agrees, and a token for that code, once.

https://docs.github.com/apps/creating-github-apps/authenticating-with-a-github-app/generating-a-user-access-token-for-a-github-app
"""

import base64
import hashlib
from datetime import timedelta
from urllib.parse import parse_qs, urlencode, urlsplit

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from tests.github.model import Grant, Json, random_token
from tests.github.world import World

AUTHORIZE, TOKEN = "/login/oauth/authorize", "/login/oauth/access_token"
CODE_LIFETIME = timedelta(minutes=10)
TOKEN_LIFETIME = timedelta(hours=8)


def authorize(world: World, request: Request) -> Response:
    """At once the answer of somebody who has agreed before: back to the App, with a code."""
    asked, app = request.query_params, world.app
    if asked.get("client_id") != app.client_id:
        return Response("Not Found", 404)
    if world.visitor is None:
        return HTMLResponse("<h1>Sign in to GitHub</h1>")
    back = asked.get("redirect_uri") or (app.callbacks[0] if app.callbacks else "")
    state = {"state": asked["state"]} if "state" in asked else {}
    if back not in app.callbacks:
        fallback = app.callbacks[0] if app.callbacks else world.url
        said = {"error": "redirect_uri_mismatch", **state}
        return RedirectResponse(f"{fallback}?{urlencode(said)}", 302)
    challenge = asked.get("code_challenge", "")
    if challenge and asked.get("code_challenge_method") != "S256":
        return RedirectResponse(f"{back}?{urlencode({'error': 'invalid_request', **state})}", 302)
    code = random_token("", 20)
    world.grants[code] = Grant(world.visitor, back, challenge, world.now() + CODE_LIFETIME)
    joint = "&" if urlsplit(back).query else "?"
    return RedirectResponse(f"{back}{joint}{urlencode({'code': code, **state})}", 302)


async def exchange(world: World, request: Request) -> Response:
    """The token for a code. What is wrong is told with status 200, as GitHub does."""
    given = {name: values[-1] for name, values in parse_qs((await request.body()).decode()).items()}
    told = _token(world, given)
    if "application/json" in request.headers.get("accept", ""):
        return JSONResponse(told)
    return Response(urlencode(told), media_type="application/x-www-form-urlencoded")


def _token(world: World, given: dict[str, str]) -> Json:
    app = world.app
    if (given.get("client_id"), given.get("client_secret")) != (app.client_id, app.client_secret):
        return {"error": "incorrect_client_credentials"}
    grant = world.grants.pop(given.get("code", ""), None)
    if grant is None or grant.expires_at <= world.now():
        return {"error": "bad_verification_code"}
    if given.get("redirect_uri", grant.back) != grant.back:
        return {"error": "redirect_uri_mismatch"}
    hashed = hashlib.sha256(given.get("code_verifier", "").encode()).digest()
    if grant.challenge and base64.urlsafe_b64encode(hashed).rstrip(b"=").decode() != grant.challenge:
        return {"error": "bad_verification_code"}
    token = random_token("ghu_", 36)
    world.user_tokens[token] = (grant.user, world.now() + TOKEN_LIFETIME)
    return {"access_token": token, "expires_in": 28800, "token_type": "bearer", "scope": ""}
