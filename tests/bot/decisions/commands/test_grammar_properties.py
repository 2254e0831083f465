"""Commands in comments that people and programs write, and in any that hypothesis thinks of."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from bot.decisions.commands.grammar import MOST, Command, candidates, parse

CORPUS = Path(__file__).parent / "corpus"
QUIET = sorted(path.name for path in (CORPUS / "quiet").glob("*.md"))
SHA = "0123456789abcdef0123456789abcdef01234567"
LOUD = {
    "a_phones_capital.md": ["/deploy production", "/status"],
    "after_a_fence.md": ["/deploy production"],
    "after_a_footnote.md": ["/cancel"],
    "after_a_heading.md": ["/deploy preview", "/status"],
    "after_a_list.md": ["/deploy staging"],
    "after_a_table.md": ["/status"],
    "after_a_template.md": ["/plan production"],
    "after_details.md": ["/retry"],
    "after_indented_code.md": ["/status"],
    "backticks.md": [f"/approve {SHA}", "/deploy production", "/lock production `SELECT 1` is slow"],
    "before_a_quote.md": [f"/approve {SHA}"],
    "bottom_posted.md": ["/deploy staging"],
    "flags.md": ["/lock --global database migration", "/lock production --info"],
    "full_stop.md": ["/deploy", "/retry", "/status?"],
    "generic_type.md": ["/deploy staging"],
    "in_a_paragraph.md": ["/deploy production"],
    "indented_a_little.md": ["/deploy staging 0123abc"],
    "link_and_mention.md": ["/lock production see https://example.com/incidents/7 or ask @grace"],
    "plain.md": ["/deploy"],
    "polite.md": ["/deploy staging"],
    "several.md": ["/lock production the sale is on", "/deploy main to production", "/unlock production"],
    "signature.md": ["/deploy staging"],
    "tildes_and_dollars.md": ["/deploy staging"],
    "without_width.md": ["/deploy", "/deploy production", "/status"],
}

thorough = settings(
    max_examples=200,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)

WORDS = ["/deploy", "/deploy staging", "/status\n", "a", "word ", "From: a\n", "To: b\n", "\x00", "\u2028"]
SPACE = ["\n", "\n\n", " ", "    ", "\t"]
BLOCKS = ["> ", "- ", "1. ", "# ", "```", "```\n", "~~~\n", "---\n", "===\n", "|", "[a]: x", "[^a]: "]
INLINES = ["`", "~", "~~", "*", "**", "_", "$$", "[a]", "[^a]", "](", "![", "<", ">", "&", "\\"]
HTML = ["<!--", "-->", "<details>", "</details>", "<div>", "<pre>", "</pre>", "<b>", "</b>"]
pieces = st.sampled_from([*WORDS, *SPACE, *BLOCKS, *INLINES, *HTML])
marked = st.lists(pieces, max_size=25).map("".join)
commands = st.builds(
    Command,
    st.from_regex(r"[a-z][a-z-]{0,31}", fullmatch=True),
    st.lists(st.from_regex(r"(--)?[A-Za-z0-9]{1,8}([./-][a-z0-9]{1,4})?", fullmatch=True), max_size=3).map(
        tuple
    ),
)


def line(command: Command) -> str:
    return " ".join((f"/{command.name}", *command.arguments))


def indented(text: str, by: str) -> str:
    return "\n".join(by + one for one in text.split("\n"))


def fenced(text: str, mark: str) -> str:
    fence = mark * (max(3, text.count(mark) + 1))
    return f"{fence}\n{text}\n{fence}"


def without(*marks: str) -> st.SearchStrategy[str]:
    return marked.filter(lambda text: not any(mark in text for mark in marks))


# Whatever text these hold, all of it is shown as something else, and they end where they end.
quiet_blocks = st.one_of(
    marked.map(lambda text: fenced(text, "`")),
    marked.map(lambda text: fenced(text, "~")),
    marked.map(lambda text: indented(text, "> ")),
    marked.map(lambda text: "- item\n" + indented(text, "  ")),
    marked.map(lambda text: "1. item\n" + indented(text, "   ")),
    marked.map(lambda text: indented(text, "    ")),
    without("-->").map(lambda text: f"<!--\n{text}\n-->"),
)
# These end only where what they hold is complete itself.
folded_blocks = st.lists(st.one_of(quiet_blocks, commands.map(line)), min_size=1, max_size=3).map(
    lambda blocks: "\n\n".join(["<details>\n<summary>Log</summary>", *blocks, "</details>"])
)
other_blocks = st.sampled_from(
    [
        "Looks good.",
        "# Heading",
        "Heading\n===",
        "***",
        "| a |\n| - |\n| /deploy |",
        "[x]: https://example.com",
        "[^1]: see\n/logs",
        "*so* **be** `it`",
        "See [x] and [^1].",
        "<br>",
        "a ~5 b $$ c",
        "a<b and List<Item>",
    ]
)
silent_blocks = st.one_of(quiet_blocks, folded_blocks, other_blocks)


def test_each_loud_comment_has_its_commands_told_here() -> None:
    assert sorted(LOUD) == sorted(path.name for path in (CORPUS / "loud").glob("*.md"))


@pytest.mark.parametrize("name", QUIET)
def test_a_quiet_comment_fires_nothing(name: str) -> None:
    text = (CORPUS / "quiet" / name).read_text(encoding="utf-8")
    assert "/" in text
    assert parse(text) == []
    assert parse(text.replace("\n", "\r\n")) == []


@pytest.mark.parametrize("name", LOUD)
def test_a_loud_comment_fires_its_commands_and_no_others(name: str) -> None:
    text = (CORPUS / "loud" / name).read_text(encoding="utf-8")
    assert [line(command) for command in parse(text)] == LOUD[name]
    assert [line(command) for command in parse(text.replace("\n", "\r\n"))] == LOUD[name]


@thorough
@given(st.text(max_size=200) | marked)
@example("/deploy\x00")
@example("a\r/deploy")
@example("/deploy\u2028/status")
@example("\ud800\n/deploy")
def test_any_text_has_a_bounded_number_of_commands_that_stand_in_it_as_lines_in_their_order(
    text: str,
) -> None:
    found = parse(text)

    assert len(found) <= MOST
    assert {command.name for command in found} <= set(candidates(text))
    typed = iter(text.replace("\r", "\n").split("\n"))
    for command in found:
        assert any(one.split() == line(command).split() and one.strip(" \t")[0] == "/" for one in typed)


@thorough
@given(st.lists(silent_blocks, max_size=3), silent_blocks)
def test_what_is_shown_as_something_else_fires_nothing_wherever_it_stands(
    before: list[str], block: str
) -> None:
    assert parse("\n\n".join([*before, block])) == []


@thorough
@given(st.lists(st.one_of(silent_blocks, commands), max_size=6), commands)
@example([Command("status")] * MOST, Command("help"))
def test_paragraphs_between_complete_blocks_fire_in_order_and_nothing_else_does(
    blocks: list[str | Command], last: Command
) -> None:
    told = [*blocks, last]

    found = parse("\n\n".join(line(one) if isinstance(one, Command) else one for one in told))

    assert found == [one for one in told if isinstance(one, Command)][:MOST]


@thorough
@given(marked)
def test_a_quoted_comment_fires_nothing(text: str) -> None:
    assert parse(indented(text, "> ")) == []


@thorough
@given(without("<"))
def test_a_folded_comment_fires_nothing_even_where_its_blocks_are_left_open(text: str) -> None:
    assert parse(f"<details>\n\n{text}\n\n</details>") == []


@thorough
@given(silent_blocks, marked)
def test_what_follows_a_fence_that_nobody_closed_fires_nothing(before: str, text: str) -> None:
    fence = "`" * (text.count("`") + 3)
    assert parse(f"{before}\n\n{fence}\n{text}") == []
