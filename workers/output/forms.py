"""A secret ▸ every form in which tools print it."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, quote_plus

from workers.output.cleaning import plain

SHORTEST = 4  # characters of a form; masking shorter ones would only garble the log
_TWICE = 128  # characters of a secret of which base64 of base64 is looked for

# Characters that URL encoders leave alone besides letters, digits and _.-~ : all of them encoded; paths;
# encodeURIComponent and encodeURI (ECMA-262, 19.2.6); Go's url.PathEscape and url.UserPassword.
_URL_SAFE = ("", "/", "!'()*", "!'()*;/?:@&=+$,#", "$&+=:@", "$&+,;=")
_TOKEN = re.compile(r"[A-Za-z0-9+/=_-]{32,}")


@dataclass(frozen=True)
class Forms:
    """`whole` ones count as a whole; of `wrapped` ones any part does, as tools break them into lines."""

    whole: frozenset[bytes]
    wrapped: frozenset[bytes]


def forms(secret: str) -> Forms:
    """No form contains a line end: each line of a secret counts by itself."""
    lines = {line.strip() for line in secret.splitlines()}
    texts = {secret, secret.strip(), *lines}
    binaries = {coded for raw in (secret, secret.replace("\r\n", "\n")) for coded in _binaries(_bytes(raw))}
    whole = {form for text in texts for form in _texts(text)} | {middle for middle, _ in binaries}
    wrapped = {text for text in texts if _TOKEN.fullmatch(text)} | {end for _, end in binaries}
    return Forms(_usable(map(_bytes, whole)), _usable(map(_bytes, wrapped)))


def _usable(found: Iterator[bytes]) -> frozenset[bytes]:
    """As they look after cleaning, too."""
    both = {form for raw in found for form in (raw, plain(raw))}
    return frozenset(
        form for form in both if len(form.strip()) >= SHORTEST and b"\n" not in form and b"\r" not in form
    )


def _texts(text: str) -> Iterator[str]:
    yield text
    yield from _urls(text)
    yield from _jsons(text)
    yield from _markups(text)
    yield from _quotings(text)


def _urls(text: str) -> Iterator[str]:
    raw = _bytes(text)
    for coded in {*(quote(raw, safe=safe) for safe in _URL_SAFE), quote_plus(raw), quote_plus(raw, safe="*")}:
        for cased in (coded, re.sub("%..", lambda found: found[0].lower(), coded)):
            yield cased
            yield cased.replace("%", "%25")


def _jsons(text: str) -> Iterator[str]:
    for ascii_only in (True, False):
        coded = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        # Go's encoding/json escapes these three for HTML's sake; PHP's json_encode the slash.
        for_html = coded.replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
        for form in (coded, coded.replace("/", r"\/"), for_html):
            for cased in (form, re.sub(r"\\u[0-9a-f]{4}", lambda found: r"\u" + found[0][2:].upper(), form)):
                yield cased
                yield json.dumps(cased)[1:-1]


def _markups(text: str) -> Iterator[str]:
    """HTML and XML, with the ways of writing quotes of Python, Go and XML's own."""
    yield html.escape(text, quote=False)
    for double, single in (
        ("&quot;", "&#x27;"),
        ("&#34;", "&#39;"),
        ("&quot;", "&#39;"),
        ("&quot;", "&apos;"),
    ):
        yield html.escape(text, quote=False).replace('"', double).replace("'", single)


def _quotings(text: str) -> Iterator[str]:
    """Shells (the inside of either quotes, backslashes, $'…'), Python's repr, and octal as in C and git."""
    yield shlex.quote(text).removeprefix("'").removesuffix("'")
    yield text.replace("'", r"'\''")
    yield re.sub(r'(["$`\\])', r"\\\1", text)
    yield re.sub(r"([^\w@%+=:,./-])", r"\\\1", text)
    escaped = text.replace("\\", "\\\\").replace("\n", r"\n").replace("\r", r"\r").replace("\t", r"\t")
    for form in (escaped.replace("'", r"\'"), escaped.replace('"', r"\""), escaped.replace("!", r"\!")):
        yield form
        yield "".join(c if c.isascii() else "".join(f"\\{byte:03o}" for byte in c.encode()) for c in form)
        yield "".join(c if c.isascii() else "".join(f"\\x{byte:02x}" for byte in c.encode()) for c in form)
    yield repr(text)[1:-1]
    yield ascii(text)[1:-1]


def _binaries(raw: bytes) -> Iterator[tuple[str, str]]:
    """Hex and base64: where the secret is in the middle of something, and where it is the end of it."""
    yield raw.hex(), raw.hex()
    yield raw.hex().upper(), raw.hex().upper()
    for before in range(3):
        middle, end = _base64(raw, before)
        yield middle, end
        yield _url_safe(middle), _url_safe(end)
        if len(raw) <= _TWICE:
            for again in range(3):
                yield _base64(_bytes(middle), again)[0], _base64(_bytes(end), again)[1]


def _base64(raw: bytes, before: int) -> tuple[str, str]:
    """The characters of base64 that `raw` alone decides, `before` bytes after a multiple of three.

    The second time as the end of all, with its padding.
    """
    coded = base64.b64encode(b"\0" * before + raw).decode()
    start = -(-before * 8 // 6)
    return coded[start : (before + len(raw)) * 8 // 6], coded[start:]


def _url_safe(coded: str) -> str:
    return coded.replace("+", "-").replace("/", "_")


def _bytes(text: str) -> bytes:
    return text.encode(errors="replace")
