"""What of a comment is a command, and above all what is not."""

from __future__ import annotations

from contextlib import suppress

import pytest

from bot.decisions.commands.grammar import MOST, Command, Unreadable, candidates, parse
from bot.decisions.commands.table import COMMANDS
from tests.cost import cost

REDEPLOY = Command("redeploy")
_PATIENCE = 0.25  # seconds of a processor, on a machine five times as slow as it need be


@pytest.mark.parametrize(
    ("comment", "commands"),
    [
        ("/redeploy", [REDEPLOY]),
        ("/redeploy\n", [REDEPLOY]),
        ("/redeploy\r\n", [REDEPLOY]),
        ("   /redeploy   ", [REDEPLOY]),
        ("Looks good.\n/redeploy\nThanks!", [REDEPLOY]),
        ("Looks good.\n\n/redeploy\n\nThanks!", [REDEPLOY]),
        ("/redeploy now please", [Command("redeploy", ("now", "please"))]),
        ("/redeploy   staging \t abc1234 ", [Command("redeploy", ("staging", "abc1234"))]),
        ("/redeploy\n/roll-back pr-1", [REDEPLOY, Command("roll-back", ("pr-1",))]),
        ("/redeploy\n> quoted\n", [REDEPLOY]),
        ("> quoted\n\n/redeploy", [REDEPLOY]),
        ("```\ncode\n```\n/redeploy", [REDEPLOY]),
        ("# Heading\n/redeploy", [REDEPLOY]),
        ("---\n/redeploy", [REDEPLOY]),
        ("<!-- hidden -->\n\n/redeploy", [REDEPLOY]),
        ("first  \n/redeploy", [REDEPLOY]),
        ("first\\\n/redeploy", [REDEPLOY]),
        ("*nice*\n/redeploy", [REDEPLOY]),
        ("/unknown", [Command("unknown")]),
        ("/Redeploy", [REDEPLOY]),
        ("/REDEPLOY", [REDEPLOY]),
        ("/redeploy!", [REDEPLOY]),
        ("/redeploy. ", [REDEPLOY]),
        ("/redeploy?", [Command("redeploy?")]),
        ("\u200b/redeploy\u200b", [REDEPLOY]),
        ("\ufeff/redeploy", [REDEPLOY]),
        ("/redeploy `staging`", [Command("redeploy", ("staging",))]),
    ],
)
def test_a_slash_and_a_word_first_on_a_line_is_a_command(comment: str, commands: list[Command]) -> None:
    assert parse(comment) == commands


@pytest.mark.parametrize(
    "comment",
    [
        "",
        "no command here",
        "please /redeploy",
        ".../redeploy",
        "/redeploy! now",
        "/redeploy? now",
        "/redeploy, please",
        "/redeploy/now",
        "/etc/hosts is wrong",
        "/ redeploy",
        "/",
        "//redeploy",
        "/1",
        "/-redeploy",
        "/r\u00e9deploy",
        "\u2215redeploy",
        "/" + "a" * 33,
        "> /redeploy",
        ">/redeploy",
        "> a\n> /redeploy",
        "> lazy\n/redeploy",
        "> > deeper\n> /redeploy",
        "> - item\n/redeploy",
        "- /redeploy",
        "- a\n/redeploy",
        "- a\n\n  /redeploy",
        "* /redeploy",
        "1. /redeploy",
        "1. a\n   /redeploy",
        "- [ ] /redeploy",
        "```\n/redeploy\n```",
        "```sh\n/redeploy\n```",
        "```\n/redeploy",
        "~~~\n/redeploy\n~~~",
        "````\n```\n/redeploy\n```\n````",
        "    /redeploy",
        "\t/redeploy",
        "text\n\n    /redeploy",
        "`/redeploy`",
        "``/redeploy``",
        "`a\n/redeploy\nb`",
        "`a\n/redeploy`",
        "<!-- /redeploy -->",
        "<!--\n/redeploy\n-->",
        "<!--\n\n/redeploy\n\n-->",
        "text <!--\n/redeploy\n--> text",
        "<pre>\n/redeploy\n</pre>",
        "<div>\n/redeploy\n</div>",
        "<script>\n\n/redeploy\n\n</script>",
        "# /redeploy",
        "/redeploy\n===",
        "/redeploy\n---",
        "*/redeploy*",
        "**/redeploy**",
        "[/redeploy](https://example.com)",
        "![/redeploy](https://example.com/x.png)",
        "[x]: /redeploy",
        "[x]:\n/redeploy",
        "<https://example.com>/redeploy",
    ],
)
def test_what_is_no_command_does_not_fire(comment: str) -> None:
    assert parse(comment) == []


@pytest.mark.parametrize(
    "comment",
    [
        "\\/redeploy",
        "&#47;redeploy",
        "*a\n/redeploy\nb*",
        "[a\n/redeploy\nb](https://example.com)",
        "see <code>\n/redeploy\n</code>",
        "a | b\n--- | ---\n/redeploy | c",
        "~~a\n/redeploy\nb~~",
    ],
    ids=["escaped", "entity", "emphasis", "link", "code element", "table", "strikethrough"],
)
def test_what_people_see_as_something_else_does_not_fire(comment: str) -> None:
    assert parse(comment) == []


def test_a_comment_has_a_bounded_number_of_commands() -> None:
    assert parse("/redeploy\n" * 500) == [REDEPLOY] * MOST


def test_what_is_beyond_the_length_of_a_comment_does_not_count() -> None:
    assert parse("a " * 33_000 + "\n\n/redeploy") == []


@pytest.mark.parametrize(
    "text",
    [
        *("[", "`", "*a ", "> ", "- ", "![", "![](", "<a ", "&#", "\\", "**a_b ", "/a\n", "`a``b```c "),
        *("~", "$$ ", "<div>", "[^a]:\n", "*a", "a|b\n-|-\n"),
    ],
)
@pytest.mark.parametrize("length", [2_000, 65_536])
def test_a_comment_made_to_exhaust_us_ends_quickly(text: str, length: int) -> None:
    comment = "/redeploy\n\n" + text * (length // len(text))

    def read() -> None:
        assert candidates(comment)[0] == "redeploy"
        with suppress(Unreadable):
            assert REDEPLOY in parse(comment)

    assert cost(read) < _PATIENCE


def test_every_command_says_who_may_use_it_and_what_it_does() -> None:
    for name, definition in COMMANDS.items():
        assert definition.name == name
        assert definition.permission in ("write access", "anybody")
        assert definition.summary
        assert definition.least <= definition.most
        assert parse(f"/{name}") == [Command(name)]


def test_what_changes_something_needs_write_access() -> None:
    looks = {"help", "status", "logs", "plan"}
    assert {name for name, one in COMMANDS.items() if one.permission == "anybody"} == looks
