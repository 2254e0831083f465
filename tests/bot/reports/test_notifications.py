"""What channels are told, as people read it."""

from __future__ import annotations

from bot.reports.notifications import MOST_LINES, Item, body, title

URL = "https://bot.test"


def item(event: str = "deploy.failed", repository: str = "acme/shop", **more: str) -> Item:
    return Item(event=event, repository=repository, environment="production", **more)


def test_one_thing_says_where_and_what_and_why_and_where_more_is() -> None:
    one = item(problem="build: exit code 1", link=f"{URL}/jobs/3-2")

    assert title([one]) == "acme/shop · production: the deploy failed"
    assert body([one], URL) == (
        f"❌ acme/shop · production: the deploy failed: build: exit code 1 {URL}/jobs/3-2"
    )


def test_many_are_counted_in_the_title_and_what_is_wrong_comes_first() -> None:
    items = [item("crash.recovered"), *(item("crash", f"acme/{number}") for number in range(50))]
    lines = body(items, URL).splitlines()

    assert title(items) == "Blacktree: 50 need a look, 1 well again"
    assert lines[0] == "❌ acme/0 · production: the app suffers"
    assert (len(lines), lines[-1]) == (MOST_LINES + 1, f"… and 31 more: {URL}/")


HOSTILE = "<!channel> @here <@U1>\n#general [log in](https://x.example) \u202e\x1b[2J "


def test_what_somebody_wrote_calls_nobody_and_breaks_no_line() -> None:
    text = title([item()]) + body([item(problem=HOSTILE + "x" * 900)], URL)

    for call in ("<!channel", "@here", "<@", "@U1", "#general", "](http", "\u202e", "\x1b"):
        assert call not in text
    assert "\n" not in text
    assert len(text) < 400


def test_every_event_has_its_words() -> None:
    from bot.reports.notifications import _SAID
    from config.channels import EVENTS

    assert set(EVENTS) <= set(_SAID)
