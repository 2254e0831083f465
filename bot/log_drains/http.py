"""A drain over HTTP: a batch is a POST of JSON lines, or of OTLP's JSON or protobuf."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Sequence

import httpx2

from bot.log_drains import forms, protobuf
from bot.log_drains.forms import Source
from bot.log_drains.sink import DrainDown, DrainRefused, Target, resolved
from bot.store.outputs import Kept
from config.networks import netloc
from config.trust import trusted

_TYPES = {
    "json": "application/x-ndjson", "otlp": "application/json", "otlp-protobuf": "application/x-protobuf",
}  # fmt: skip
_TIMEOUT, _WHOLE = 20.0, 40.0  # seconds for a step of a batch, and for all of them
_LONGEST = 300.0  # seconds that a drain may ask us to wait
_ANSWER = 64 * 1024  # bytes of its answer that are read
_COMPRESSION = 5  # as fast as 1 on text like this, by a hundredth, and a quarter smaller
_LATER = {408, 425, 429}
# What is wrong is in the batch: too much of it, or a line that it cannot take.
_REFUSED = {400, 413, 422}


class HttpSink:
    """What `target` says: redirects are not followed, and a repository's drain has no proxy before it."""

    at_once = 4

    def __init__(self, target: Target) -> None:
        self._target = target
        self._own = target.reachable is not None
        self._http = httpx2.AsyncClient(
            verify=trusted(), timeout=_TIMEOUT, trust_env=not self._own, headers={"user-agent": "blacktree"}
        )

    async def send(self, source: Source, lines: Sequence[Kept]) -> None:
        headers = {**dict(self._target.headers), "content-type": _TYPES[self._target.address.form]}
        if self._target.gzip:
            headers["content-encoding"] = "gzip"
        content = await asyncio.to_thread(self._content, source, lines)
        try:
            async with asyncio.timeout(_WHOLE):  # httpx's own is of each read, and a drain may drip
                status, after = await self._posted(content, headers)
        except (httpx2.HTTPError, TimeoutError) as error:
            raise DrainDown(f"it can't be reached: {str(error) or type(error).__name__}") from None
        if status >= 300:
            kind = DrainRefused if status in _REFUSED else DrainDown
            raise kind(f"it answers {status}", after if status in _LATER or status >= 500 else 0.0)

    def _content(self, source: Source, lines: Sequence[Kept]) -> bytes:
        match self._target.address.form:
            case "otlp":
                content = forms.otlp(source, lines, time.time_ns())
            case "otlp-protobuf":
                content = protobuf.otlp(source, lines, time.time_ns())
            case _:
                content = forms.json_lines(source, lines)
        return gzip.compress(content, _COMPRESSION) if self._target.gzip else content

    async def _posted(self, content: bytes, headers: dict[str, str]) -> tuple[int, float]:
        """Its status, and the seconds that it wants to be left alone."""
        place, extensions = self._target.address, {}
        url = httpx2.URL(place.url)
        if self._own:
            # One of the addresses that were looked at, and no other; its certificate is still of its name.
            url = url.copy_with(host=(await resolved(self._target))[0])
            headers["host"] = netloc(place.host, place.port)
            extensions = {"sni_hostname": place.host}
        request = self._http.build_request(
            "POST", url, content=content, headers=headers, extensions=extensions
        )
        response = await self._http.send(request, stream=True)
        try:
            read = 0
            async for part in response.aiter_raw():
                read += len(part)
                if read > _ANSWER:
                    break  # the connection goes with it
            return response.status_code, _after(response.headers.get("retry-after", ""))
        finally:
            await response.aclose()

    async def close(self) -> None:
        await self._http.aclose()


def _after(said: str) -> float:
    return min(float(said), _LONGEST) if said.isdecimal() and len(said) < 9 else 0.0
