"""Finding commands in a comment: a slash and a word, first thing on a line of a plain paragraph.

CommonMark decides what is a paragraph, so nothing in quotes (lazy lines included), code, HTML or lists
is ever a command.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

MOST = 10  # commands in one comment
_COMMAND = re.compile(r"^/([a-z][a-z-]{0,31})(?=\s|$)[ \t]*(.*)$")
_markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])


@dataclass(frozen=True)
class Command:
    """One slash-command line, split at its spaces."""

    name: str
    arguments: tuple[str, ...] = ()


def parse(comment: str) -> list[Command]:
    """The commands of a comment, in order, `MOST` at most."""
    lines = _paragraph_lines(_markdown.parse(comment[:65_536]))
    matches = [match for line in lines if (match := _COMMAND.match(line))]
    return [Command(match[1], tuple(match[2].split())) for match in matches[:MOST]]


def _paragraph_lines(tokens: list[Token]) -> list[str]:
    """The lines of top-level paragraphs that show exactly what was typed."""
    lines = []
    for opening, inline in pairwise(tokens):
        if opening.type == "paragraph_open" and opening.level == 0:
            lines += _plain_lines(inline)
    return lines


def _plain_lines(inline: Token) -> list[str]:
    """The lines of a paragraph that are text and nothing else: no markup in, around or instead of them."""
    children = inline.children or []
    if any(child.type == "html_inline" for child in children):
        return []
    shown: list[str | None] = [""]
    depth = 0
    for child in children:
        depth += child.nesting
        if child.type in ("softbreak", "hardbreak"):
            shown.append(None if depth else "")
        elif child.type == "text" and shown[-1] is not None:
            shown[-1] += child.content
        elif child.type != "text":
            shown[-1] = None
    typed = {line.strip() for line in inline.content.split("\n")}
    return [line for line in shown if line and line.strip() in typed]
