"""Secrets out of text: in every form that tools print them in, also where chunks cut them in two."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "***"
_SHORTEST = 4  # characters of a form; masking shorter ones would only garble the log


def forms(secret: str) -> set[str]:
    """Every way in which `secret` may appear in a log."""
    found = {
        secret,
        quote(secret, safe=""),
        quote(secret),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        json.dumps(secret, ensure_ascii=False)[1:-1],
        *secret.splitlines(),
    }
    found |= {form.lower() for form in (quote(secret, safe=""), quote_plus(secret)) if "%" in form}
    for coded in (_base64(secret.encode(), skip) for skip in range(3)):
        found |= {coded, coded.replace("+", "-").replace("/", "_")}
    return {form for form in found if len(form) >= _SHORTEST}


def _base64(secret: bytes, before: int) -> str:
    """The characters of base64 that `secret` alone decides, `before` bytes after a multiple of three."""
    coded = base64.b64encode(b"\0" * before + secret).decode()
    return coded[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]


class Masker:
    """Masks a stream of text. It holds back what may be the start of a secret until it is known."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._forms = sorted({form for secret in secrets for form in forms(secret)}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._forms))) if self._forms else None
        self._starts = frozenset(form[0] for form in self._forms)
        self._held = ""

    def feed(self, text: str) -> str:
        """What is certain of everything fed so far, masked."""
        return self._masked(text, final=False)

    def end(self) -> str:
        """The rest."""
        return self._masked("", final=True)

    def _masked(self, text: str, *, final: bool) -> str:
        text, self._held = self._held + text, ""
        if self._pattern is None:
            return text
        out: list[str] = []
        at = 0
        while True:
            match = self._pattern.search(text, at)
            doubtful = len(text) if final else self._doubtful(text, at)
            if match is None or match.start() >= doubtful:
                break
            out += text[at : match.start()], MASK
            at = match.end()
        self._held = text[doubtful:]
        return "".join((*out, text[at:doubtful]))

    def _doubtful(self, text: str, at: int) -> int:
        """Where a secret may start that `text` holds only the beginning of."""
        for start in range(max(at, len(text) - len(self._forms[0]) + 1), len(text)):
            if text[start] in self._starts and any(
                len(form) > len(text) - start and form.startswith(text[start:]) for form in self._forms
            ):
                return start
        return len(text)
