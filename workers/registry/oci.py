"""A client of the OCI distribution protocol: who asks, which digest a tag has, tags moved by manifest.

https://github.com/opencontainers/distribution-spec/blob/main/spec.md
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence

import httpx2

from workers.contract.failure import Failure, final, ours
from workers.contract.messages import RegistryLogin
from workers.registry import challenge
from workers.registry.challenge import Challenge, Token
from workers.registry.reference import Reference, api_host
from workers.registry.transport import Answer, Request, Transport

MANIFESTS = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_ACCEPT = {"Accept": ", ".join(MANIFESTS)}


class Client:
    """One attempt's talk with registries: its logins, and the tokens that it was given for them.

    Each method raises Failure. What may help when it is tried again was tried again.
    """

    def __init__(self, login: Callable[[str], Awaitable[RegistryLogin | None]], transport: Transport) -> None:
        self._login = login
        self._transport = transport
        self._challenges: dict[str, Challenge] = {}
        self._tokens: dict[tuple[str, str], tuple[Token, float]] = {}  # by host and scope, with their end

    async def check(self, host: str) -> None:
        """Prove the login at that host."""
        async with self._talk(host) as talk:
            answer = await talk.ask("GET", "")
        if answer.status >= 300:
            raise await self._refusal(host, answer, "the login")

    async def digest(self, image: Reference) -> str | None:
        """By which digest the registry knows it; None if it does not."""
        async with self._talk(image.host, challenge.scope(image.path, write=False)) as talk:
            answer = await talk.ask("HEAD", f"{image.path}/manifests/{image.chosen}", _ACCEPT)
            if answer.status == 200 and not _told_digest(answer):
                answer = await talk.ask("GET", f"{image.path}/manifests/{image.chosen}", _ACCEPT)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise await self._refusal(image.host, answer, str(image))
        if told := _told_digest(answer):
            return told
        if not _is_manifest(answer.body):  # a page of whatever stands before it, that wants a sign-in
            raise ours(
                "registry_broken", f"{image.host} answered with something else than a manifest of {image}"
            )
        return _sha256(answer.body)

    async def tag(self, name: Reference, digest: str, tags: Sequence[str]) -> None:
        """Let each of `tags` name the manifest `digest`, one after another; each is moved in one moment."""
        async with self._talk(name.host, challenge.scope(name.path, write=True)) as talk:
            manifest = await talk.ask("GET", f"{name.path}/manifests/{digest}", _ACCEPT)
            if manifest.status == 404:
                raise final("image_missing", f"{name.host} does not have {name.name}@{digest} any more")
            if manifest.status != 200:
                raise await self._refusal(name.host, manifest, f"{name.name}@{digest}")
            if digest.startswith("sha256:") and _sha256(manifest.body) != digest:
                raise ours("registry_broken", f"{name.host} gave something else for {name.name}@{digest}")
            for tag in tags:
                await self._put(talk, name, tag, digest, manifest)

    async def _put(self, talk: _Talk, name: Reference, tag: str, digest: str, manifest: Answer) -> None:
        path = f"{name.path}/manifests/{tag}"
        answer = await talk.ask("PUT", path, {"Content-Type": _media_type(manifest)}, manifest.body)
        if answer.status < 300:
            return
        # Where tags are immutable, one that is right already cannot be put again.
        there = await talk.ask("HEAD", path, _ACCEPT)
        if there.status != 200 or _told_digest(there) != digest:
            raise await self._refusal(name.host, answer, f"{name.name}:{tag}")

    @contextlib.asynccontextmanager
    async def _talk(self, host: str, scope: str = "") -> AsyncIterator[_Talk]:
        async with self._transport.connected(api_host(host)) as http:
            yield _Talk(self, self._transport, http, host, scope)

    async def proof(self, host: str, scope: str) -> str | None:
        """The Authorization for a host whose ways are known; None if they are not, or we are nobody."""
        known = self._challenges.get(host)
        if known is not None and known.realm is None:
            login = await self._login(host)
            return challenge.basic(login) if login else None
        token, end = self._tokens.get((host, scope), (None, 0.0))
        return _bearer(token) if token and time.monotonic() < end else None

    async def new_proof(self, host: str, scope: str, asked: Challenge) -> str | None:
        """The Authorization that answers a challenge, with a token that was never used."""
        self._challenges[host] = asked
        if asked.realm is None:
            return await self.proof(host, scope)
        begun = time.monotonic()
        token = await self._token(host, asked, asked.realm, scope)
        self._tokens[host, scope] = (token, begun + token.seconds)
        return _bearer(token)

    async def _token(self, host: str, asked: Challenge, realm: str, scope: str) -> Token:
        if not challenge.trusted(realm, api_host(host)):
            raise _no_place(host, realm)
        how = challenge.token_request(asked, scope, await self._login(host))
        try:
            url = httpx2.URL(realm).copy_merge_params(how.query)
        except httpx2.InvalidURL:
            raise _no_place(host, realm) from None
        async with self._transport.connected(url.netloc.decode()) as http:
            answer = await self._transport.ask(http, Request(how.method, url, how.headers, form=how.form))
        if answer.status >= 300:
            raise await self._refusal(host, answer, "the login")
        if (token := challenge.token(answer.body)) is None:
            raise ours("registry_broken", f"{realm} answered without a token")
        return token

    async def _refusal(self, host: str, answer: Answer, what: str) -> Failure:
        said = f"{answer.status}{answer.reason}"
        if immutable(answer.reason):
            return final("tag_immutable", immutable_sentence(host, what))
        if answer.status in (401, 403):
            login = await self._login(host)
            who = login.username if login else "nobody, for there is no login for it"
            return final("registry_denied", f"{host} refuses {what} to {who}: {said}. {_CHECK_LOGIN}")
        return final("registry_refused", f"{host} refuses {what}: {said}")


class _Talk:
    """With one registry, about what one scope allows."""

    def __init__(
        self, client: Client, transport: Transport, http: httpx2.AsyncClient, host: str, scope: str
    ) -> None:
        self._client = client
        self._transport = transport
        self._http = http
        self._host = host
        self._scope = scope

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> Answer:
        """The answer to whom we can prove to be. `path` is below /v2/."""
        url = self._transport.base(api_host(self._host)).join(f"/v2/{path}")

        async def asked(proof: str | None) -> Answer:
            known = {"Authorization": proof} if proof else {}
            request = Request(method, url, {**(headers or {}), **known}, content)
            return await self._transport.ask(self._http, request)

        proof = await self._client.proof(self._host, self._scope)
        answer = await asked(proof)
        question = challenge.read(answer.headers.get("www-authenticate", ""), api_host(self._host))
        if answer.status == 401 and answer.own and question is not None:
            new = await self._client.new_proof(self._host, self._scope, question)
            if new is not None and new != proof:
                return await asked(new)
        return answer


_CHECK_LOGIN = (
    "Check it and what it may do: BLACKTREE_REGISTRY_USERNAME and BLACKTREE_REGISTRY_PASSWORD,"
    " or BLACKTREE_REGISTRY_AUTHS"
)


def _no_place(host: str, realm: str) -> Failure:
    return final(
        "registry_denied",
        f"{host} wants its login to be told to {realm[:200]!r}, which is no place with TLS: mend the realm in"
        " that registry's configuration",
    )


def immutable(said: str) -> bool:
    """Whether a registry says that a tag may not be moved.

    ECR: "… cannot be overwritten because the tag is immutable"; Harbor: "configured as immutable".
    """
    return "immutable" in said.lower() or "cannot be overwritten" in said.lower()


def immutable_sentence(host: str, what: str) -> str:
    """What to do about it."""
    return (
        f"{what} is another image already, and {host} lets no tag be moved there: allow it at the registry,"
        " or name tags in .blacktree.yml that are new with each commit"
    )


def _bearer(token: Token) -> str:
    return f"Bearer {token.value}"


def _told_digest(answer: Answer) -> str | None:
    return answer.headers.get("docker-content-digest")


def _media_type(manifest: Answer) -> str:
    said = manifest.headers.get("content-type", "").partition(";")[0].strip()
    return said if said in MANIFESTS else str(json.loads(manifest.body).get("mediaType") or MANIFESTS[2])


def _is_manifest(body: bytes) -> bool:
    try:
        return "schemaVersion" in json.loads(body)
    except (ValueError, TypeError):
        return False


def _sha256(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
