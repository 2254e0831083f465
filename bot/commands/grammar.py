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
_markdown = MarkdownIt("commonmark")


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
    """The lines of top-level paragraphs that are plain text from their first to their last character."""
    lines = []
    for opening, inline in pairwise(tokens):
        if opening.type == "paragraph_open" and opening.level == 0:
            lines += _text_lines(inline.children or [])
    return lines


def _text_lines(children: list[Token]) -> list[str]:
    """Inline content by lines; a line that has anything but text in it, code or HTML say, is left out."""
    lines: list[str | None] = [""]
    for child in children:
        if child.type in ("softbreak", "hardbreak"):
            lines.append("")
        elif child.type == "text" and lines[-1] is not None:
            lines[-1] += child.content
        elif (child.type == "code_inline" and "\n" in child.content) or child.type != "text":
            lines[-1] = None
    return [line for line in lines if line]
