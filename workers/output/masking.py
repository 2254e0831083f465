"""Secrets out of a log: in every form that tools print them in, also where pieces or colours cut them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ahocorasick_rs import BytesAhoCorasick, Implementation

from workers.output.cleaning import plain
from workers.output.colours import SEQUENCE, joined
from workers.output.forms import Forms, forms

MASK = b"***"
_SEED = 12  # bytes by which a part of a wrapped form is found: there is one …
_STRIDE = 8  # … every so many bytes, so that a part of 19 holds one whole
_VARIED = 5  # different bytes of one at least: others are found everywhere
_PLACES = 4  # of one that are looked at
_LONGEST_TOKEN = 2048  # bytes

# Tokens that the worker was never told, but whose beginning leaves no doubt.
# https://github.blog/engineering/behind-githubs-new-authentication-token-formats/
# https://docs.docker.com/security/access-tokens/
_GITHUB = re.compile(rb"gh[opusr]_[A-Za-z0-9_.-]{36,%d}" % _LONGEST_TOKEN)
_GITHUB_PAT = re.compile(rb"github_pat_[A-Za-z0-9_]{36,%d}" % _LONGEST_TOKEN)
_DOCKER = re.compile(rb"dckr_[op]at_[A-Za-z0-9_-]{20,%d}" % _LONGEST_TOKEN)
_SHAPES = {
    **dict.fromkeys((b"gho_", b"ghp_", b"ghu_", b"ghs_", b"ghr_"), _GITHUB),
    b"github_pat_": _GITHUB_PAT,
    b"dckr_pat_": _DOCKER,
    b"dckr_oat_": _DOCKER,
}

_AUTOMATON = Implementation.ContiguousNFA  # a tenth of a DFA's memory, for half of its speed

_UNFINISHED = re.compile(rb"\x1b(?:\[[0-9;]{0,64})?\Z")  # of a colour
_LONGEST_COLOUR = 67

_Span = tuple[int, int]
_Mark = tuple[int, bytes]  # a colour, before the byte that stands there


@dataclass(frozen=True, slots=True)
class _Part:
    """Where a pattern is in a form, of which any part counts."""

    form: bytes
    at: int

    def grown(self, text: bytes, start: int) -> _Span:
        """All of the form that stands around the pattern in `text`, where it is at `start`."""
        before = _alike(reversed(self.form[: self.at]), reversed(text[max(0, start - self.at) : start]))
        after = _alike(self.form[self.at :], text[start : start + len(self.form) - self.at])
        return start - before, start + after


def _alike(one: Iterable[int], other: Iterable[int]) -> int:
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


class Masker:
    """Masks UTF-8 that arrives anyhow, holding back what may be the start of a secret until it is known.

    A span of the text that is masked is within one line, and at most `_longest` bytes long: so a byte is
    certain when its line has ended, or when that many bytes have followed it.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._secrets = set(secrets)
        self._held = b""  # without its colours, which hide nothing
        self._colour = b""  # one that has begun
        self._marks: list[_Mark] = []
        self._done = 0  # bytes of it that were given; they tell whether a mask goes on
        self._compile()

    def learn(self, secret: str) -> None:
        """Mask this too, in whatever was not given yet."""
        if secret not in self._secrets:
            self._secrets.add(secret)
            self._compile()

    def _compile(self) -> None:
        found = [forms(secret) for secret in self._secrets]
        parts = _parts(found)
        whole = {form for each in found for form in (*each.whole, *each.wrapped)} - parts.keys()
        self._whole = len(whole)
        self._parts = tuple(map(tuple, parts.values()))
        self._shapes = tuple(_SHAPES.values())
        self._automaton = BytesAhoCorasick([*whole, *parts, *_SHAPES], implementation=_AUTOMATON)
        self._longest = max([_LONGEST_TOKEN + max(map(len, _SHAPES)), *map(len, whole)])

    def feed(self, text: bytes) -> bytes:
        """What is certain of everything fed so far, masked."""
        self._hold(text)
        return self._given(max(self._held.rfind(b"\n") + 1, len(self._held) - self._longest))

    def end(self) -> bytes:
        """The rest."""
        return self._given(len(self._held))

    def masked(self, text: str) -> str:
        """A text by itself, without what steers a terminal, masked."""
        raw = plain(text.encode(errors="replace"))
        return b"".join(_shown(raw, self._spans(raw), 0, len(raw))).decode()

    def _hold(self, text: bytes) -> None:
        if b"\x1b" not in text and not self._colour:
            self._held += text
            return
        text = self._colour + text
        cut = _UNFINISHED.search(text, max(0, len(text) - _LONGEST_COLOUR))
        self._colour, text = (cut[0], text[: cut.start()]) if cut else (b"", text)
        at, held = len(self._held), []
        pieces = iter(SEQUENCE.split(text))  # text, codes, text, codes, … text
        for piece in pieces:
            held.append(piece)
            at += len(piece)
            if (codes := next(pieces, None)) is not None:
                self._mark(at, b"\x1b[%sm" % codes)
        self._held += b"".join(held)

    def _mark(self, at: int, colour: bytes) -> None:
        if self._marks and self._marks[-1][0] == at:
            self._marks[-1] = at, joined(self._marks[-1][1], colour)
        else:
            self._marks.append((at, colour))

    def _given(self, certain: int) -> bytes:
        while certain < len(self._held) and 0x80 <= self._held[certain] < 0xC0:
            certain -= 1  # between two characters
        if certain <= self._done:
            return b""
        given = b"".join(_shown(self._held, self._spans(self._held), self._done, certain, self._marks))
        keep = max(self._held.rfind(b"\n", 0, certain) + 1, certain - self._longest, 0)
        self._marks = [(at - keep, colour) for at, colour in self._marks if at >= certain]
        self._held, self._done = self._held[keep:], certain - keep
        return given

    def _spans(self, text: bytes) -> list[_Span]:
        """What is to be masked, in order, no two of them overlapping."""
        found: list[_Span] = []
        seen: dict[tuple[bytes, int], int] = {}  # a form that would begin there ▸ where it was seen to end
        for which, start, end in self._automaton.find_matches_as_indexes(text, overlapping=True):
            if which < self._whole:
                _add(found, (start, end))
            elif which < self._whole + len(self._parts):
                for part in self._parts[which - self._whole]:
                    place = part.form, start - part.at
                    if seen.get(place, 0) < end:
                        span = part.grown(text, start)
                        seen[place] = span[1]
                        found.append(span)
            elif token := self._shapes[which - self._whole - len(self._parts)].match(text, start):
                found.append(token.span())
        united: list[_Span] = []
        for span in sorted(found):
            _add(united, span)
        return united


def _add(spans: list[_Span], span: _Span) -> None:
    """Unite it with the last one if they overlap."""
    if spans and span[0] < spans[-1][1] and spans[-1][0] < span[1]:
        spans[-1] = min(spans[-1][0], span[0]), max(spans[-1][1], span[1])
    else:
        spans.append(span)


def _parts(found: Iterable[Forms]) -> dict[bytes, list[_Part]]:
    """The patterns by which wrapped forms are found."""
    parts: defaultdict[bytes, list[_Part]] = defaultdict(list)
    for form in sorted({form for each in found for form in each.wrapped}):
        last = max(0, len(form) - _SEED)
        for at in {*range(0, last, _STRIDE), last}:
            seed = form[at : at + _SEED]
            if len(seed) == _SEED and len({*seed}) >= _VARIED and len(parts[seed]) < _PLACES:
                parts[seed].append(_Part(form, at))
    return parts


def _shown(
    text: bytes, spans: Iterable[_Span], start: int, stop: int, marks: Iterable[_Mark] = ()
) -> Iterator[bytes]:
    """The bytes from `start` to `stop`, with a mask for each span that begins among them, and their colours.

    A colour within a span stands after its mask, so that what follows looks as it would have.
    """
    at = start
    for begin, end, colour in sorted(
        [*((begin, end, b"") for begin, end in spans), *((mark, mark, colour) for mark, colour in marks)],
        key=lambda one: (one[0], one[1]),
    ):
        if begin >= stop:
            break
        if colour:
            if begin >= start:
                yield text[at : max(at, begin)]
                yield colour
                at = max(at, begin)
        elif end > at:
            if begin >= start:
                yield text[at:begin]
                yield MASK
            at = min(end, stop)
    yield text[at:stop]
