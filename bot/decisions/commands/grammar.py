"""Finding commands in a comment: a slash and a word, first thing on a line of a plain paragraph.

CommonMark decides what is a paragraph, so nothing in quotes (lazy lines included), code, HTML or lists
is ever a command. What GitHub shows in its own way beyond that is left out too.
A phone's capital, a full stop behind it, a name in backticks and what has no width are no reason for silence.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from itertools import islice, pairwise

from markdown_it import MarkdownIt
from markdown_it.rules_block import StateBlock
from markdown_it.token import Token

MOST = 10  # commands in one comment
_MOST_TEXT = 65_536  # characters: GitHub takes no longer one
_COMMAND = re.compile(r"/([a-z][a-z-]{0,31}(?:\?$)?)(?:[.,:;!]*$|(?=\s))\s*(.*)", re.IGNORECASE)
_LIKE_ONE = re.compile("(?<![^\r\n])[ \t\u00ad\u200b-\u200d\u2060\ufeff]*/[^\r\n]{1,64}")
_MOST_LIKE = 1_000
_WIDTHLESS = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]+")
_QUOTED = re.compile(r"(`+)(.+)\1")
_MARKS = re.compile(r"[^\w\s/.,:;-]|[\n_]")
MOST_MARKS = 2_000  # each may take a parser of Markdown twenty microseconds
_FOOTNOTE = re.compile(r"\[\^[^\]\s]+\]:")
# HTML that folds, quotes, strikes out or sets apart all that stands between its tags, Markdown too.
_APART = re.compile(
    r"<(/?)(details|blockquote|pre|code|table|ul|ol|dl|div|del|s|strike|ins|q|samp|kbd|sub|sup|h[1-6])(?=[\s/>])",
    re.IGNORECASE,
)
_HTML_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
_MATH = re.compile(r"\$\$.*?\$\$", re.DOTALL)
_STRIKE, _STRUCK = re.compile(r"(?<!~)~(?=[^\s~])"), re.compile(r"(?<=[^\s~])~(?!~)")
_TABLE = re.compile(r"\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?")
_MAIL_HEADER = re.compile(r"^\**From:.*\n\**(?:Sent|Date|To|Subject):", re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """One slash-command line, split at its spaces."""

    name: str
    arguments: tuple[str, ...] = ()


class Unreadable(Exception):
    """A comment with so much markup that finding commands in it takes too long."""


def candidates(comment: str) -> list[str]:
    """The names of the commands that there may be, each once, whatever shows them; in next to no time."""
    found = islice(_LIKE_ONE.finditer(comment, 0, _MOST_TEXT), _MOST_LIKE)
    lines = (_command(match[0]) for match in found)
    return list(dict.fromkeys(command.name for command in lines if command))


def parse(comment: str) -> list[Command]:
    """The commands of a comment, in order, `MOST` at most. Raises Unreadable."""
    text = re.sub(r"\r\n?", "\n", comment[:_MOST_TEXT])
    if len(_MARKS.findall(text)) > MOST_MARKS:
        raise Unreadable
    lines = _paragraph_lines(_markdown.parse(text), text.split("\n"))
    return [command for line in lines if (command := _command(line))][:MOST]


def _command(line: str) -> Command | None:
    """The command that a line is, if it is one."""
    match = _COMMAND.fullmatch(_WIDTHLESS.sub("", line).strip(" \t"))
    if match is None:
        return None
    words = (quoted[2] if (quoted := _QUOTED.fullmatch(word)) else word for word in match[2].split())
    return Command(match[1].lower(), tuple(words))


def _paragraph_lines(tokens: list[Token], source: list[str]) -> list[str]:
    """The lines of top-level paragraphs that show exactly what was typed."""
    lines: list[str] = []
    apart: Counter[str] = Counter()
    for opening, token in pairwise([Token("", "", 0), *tokens]):
        _count_tags(token, apart)
        if opening.type == "paragraph_open" and opening.level == 0 and opening.map and not apart.total():
            typed = source[opening.map[0] : opening.map[1]]
            if _is_mail(typed):
                break
            lines += _plain_lines(token, typed)
    return lines


def _count_tags(token: Token, apart: Counter[str]) -> None:
    """Note which HTML elements a token of the top level leaves open; deeper ones end with their block."""
    html = [token] if token.type == "html_block" and token.level == 0 else []
    if token.type == "inline" and token.level == 1:
        html = [child for child in token.children or [] if child.type == "html_inline"]
    for one in html:
        for closing, name in _APART.findall(_HTML_COMMENT.sub("", one.content)):
            name = name.lower()  # noqa: PLW2901
            apart[name] = max(0, apart[name] + (-1 if closing else 1))


def _is_mail(lines: list[str]) -> bool:
    """Whether the message that a mail program answers begins here, without marks of a quote."""
    stripped = [line.strip() for line in lines]
    ruled = (line for line in stripped if line.startswith("----") and line.endswith("----"))
    return any("message" in line.lower() for line in ruled) or bool(_MAIL_HEADER.search("\n".join(stripped)))


def _plain_lines(inline: Token, source: list[str]) -> list[str]:
    """The lines of a paragraph that are text, or begin as text and have code in it: no other markup."""
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
        elif child.type == "code_inline" and shown[-1] and not depth:
            shown[-1] += f"{child.markup}{child.content}{child.markup}"
        elif child.type != "text":
            shown[-1] = None
    typed = _typed(source)
    return [line for line in shown if line and line.rstrip() in typed]


def _typed(source: list[str]) -> set[str]:
    """A paragraph's lines, but those that GitHub, unlike CommonMark, shows as math, struck out or a table."""
    text = _MATH.sub("$$", "\n".join(line.lstrip(" \t").rstrip() for line in source))
    first, last = _STRIKE.search(text), max((one.start() for one in _STRUCK.finditer(text)), default=0)
    if first and first.end() < last:
        text = text[: first.end()] + text[last:]
    lines = text.split("\n")
    heads = (place for place, line in enumerate(lines) if place and _TABLE.fullmatch(line))
    return set(lines[: next(heads, len(lines) + 1) - 1])


def _footnote(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """A block rule: a footnote's first paragraph, with its lazy lines, is nothing that we look at."""
    begin = state.bMarks[start] + state.tShift[start]
    if state.is_code_block(start) or not _FOOTNOTE.match(state.src, begin):
        return False
    if silent:
        return True
    blocks = state.md.block.ruler.getRules("paragraph")
    parent, state.parentType = state.parentType, "paragraph"
    line = start + 1
    while line < end and not state.isEmpty(line):
        lazy = state.is_code_block(line) or state.sCount[line] < 0
        if not lazy and any(block(state, line, end, True) for block in blocks):
            break
        line += 1
    state.parentType = parent
    state.line = line
    return True


def _grammar() -> MarkdownIt:
    markdown = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    interrupts = {"alt": ["paragraph", "reference", "blockquote"]}
    markdown.block.ruler.before("reference", "footnote", _footnote, interrupts)  # type: ignore[arg-type]
    return markdown


_markdown = _grammar()
