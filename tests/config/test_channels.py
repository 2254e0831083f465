"""NOTIFY, as people write it."""

from __future__ import annotations

import pytest

from config.channels import EVENTS, Told, parsed
from config.errors import ConfigError
from config.repository import parse
from config.sources import load


def test_channels_are_divided_by_semicolons_and_say_what_they_want() -> None:
    told = parsed("ops: slack://a/b/c on=crash,task.failed of=acme/*,me/x; mail: mailtos://u:p@h?to=a;b;")

    assert told == (
        Told("ops", "slack://a/b/c", ("crash", "task.failed"), ("acme/*", "me/x")),
        Told("mail", "mailtos://u:p@h?to=a;b", EVENTS, ("*",)),
    )


WRONG = {
    "ops slack://tokens": "must be NAME: URL KEY=VALUE …, such as ops: slack://TOKENS on=crash,deploy.failed",
    "ops: tokens": "must be NAME: URL KEY=VALUE …, such as ops: slack://TOKENS on=crash,deploy.failed",
    "ops: slack://tokens on=crsh": "ops: there is no event crsh. Did you mean crash?",
    "ops: slack://tokens onn=crash": (
        "ops: its address must be followed by on=EVENTS or of=REPOSITORIES. Did you mean on?"
    ),
    "ops: a://b; ops: c://d": "ops stands twice: keep one of them",
}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_wrong_is_said_without_the_address(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({"BLACKTREE_NOTIFY": text})

    assert str(caught.value) == f"BLACKTREE_NOTIFY: {WRONG[text]}"


def test_addresses_are_in_no_representation() -> None:
    settings = load({"BLACKTREE_NOTIFY": "ops: slack://very-secret"})

    assert settings.channels[0].address == "slack://very-secret"
    assert "very-secret" not in repr(settings) + repr(settings.channels)


def test_a_file_names_secrets_and_events() -> None:
    file = parse(
        "notifications:\n  channels:\n    team: {secret: TEAM, on: crash, environments: prod*}\n    ops:\n"
    )

    team, ops = file.notifications.channels["team"], file.notifications.channels["ops"]
    assert (team.secret, team.on, team.environments) == ("TEAM", ["crash"], ["prod*"])
    assert (ops.secret, ops.on) == (None, None)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("{secret: 'slack://a/b'}", "notifications.channels.team.secret: must be a variable's name"),
        ("{on: [crsh]}", "notifications.channels.team.on[0]: must be"),
        ("{url: 'https://x'}", "notifications.channels.team.url: there is no such key"),
    ],
)
def test_a_file_has_no_address(said: str, told: str) -> None:
    with pytest.raises(ConfigError, match=r".*") as caught:
        parse(f"notifications:\n  channels:\n    team: {said}\n")

    assert told.replace("[0]", "") in str(caught.value).replace("[0]", "").replace(".0:", ":")
