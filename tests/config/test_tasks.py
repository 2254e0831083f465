"""Tasks in `.blacktree.yml`: short forms, faults that name the key, and whose word counts."""

from __future__ import annotations

import pytest

from config.authority import governed, unheard
from config.errors import ConfigError
from config.repository import parse

PLACE = "environments:\n  production:\n    tasks: {tasks}\n"


def test_a_command_alone_is_a_task_without_a_schedule() -> None:
    tasks = parse(PLACE.format(tasks='{a: [./clean, up], b: ./clean up, c: {command: x, cron: "0 3 * * *"}}'))
    a, b, c = tasks.environments["production"].tasks.values()

    assert a == b
    assert (a.command, a.cron, a.timeout_seconds, a.overlap) == (["./clean", "up"], None, 3600, "skip")
    assert (a.retry, a.process) == (False, None)
    assert c.cron == "0 3 * * *"


@pytest.mark.parametrize(
    ("tasks", "told"),
    [
        ("{a: {comand: x}}", "tasks.a.comand: there is no such key. Did you mean command?"),
        ("{a: {cron: '0 3 * * *'}}", "tasks.a.command: is missing"),
        ("{a: {command: []}}", "tasks.a.command: must have at least one entry"),
        ("{a: ls | wc}", "tasks.a.command: no shell reads it: write a list"),
        ("{a: {command: x, cron: '0 25 * * *'}}", "tasks.a.cron: must be five fields of cron: 25 is no hour"),
        ("{a: {command: x, timeout: soon}}", "tasks.a.timeout: must be a time such as 30m"),
        ("{a: {command: x, timeout: 0s}}", "tasks.a.timeout: must be a time such as 30m"),
        ("{a: {command: x, overlap: both}}", "tasks.a.overlap: must be 'skip' or 'queue'"),
        ("{A: x}", "tasks.A: must have small letters"),
        ("{a: {command: x, process: worker}}", "tasks.a.process: there is no process worker."),
        (
            "{a: {command: x, process: wroker}}\n    processes: {web: , worker: x}",
            "tasks.a.process: there is no process wroker. Did you mean worker?",
        ),
    ],
)
def test_a_fault_names_its_line_its_key_and_what_was_meant(tasks: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(PLACE.format(tasks=tasks))

    assert ".blacktree.yml:3: environments.production." in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize(("task", "wrong"), [("x", True), ("{command: x, process: web}", False)])
def test_an_image_is_named_where_a_task_runs_in_the_environments_own(task: str, wrong: bool) -> None:
    file = (
        "images: {a: , b: }\nenvironments:\n  production:\n"
        f"    processes: {{web: {{image: b}}}}\n    tasks: {{nightly: {task}}}\n"
    )
    if wrong:
        with pytest.raises(ConfigError, match=r"environments.production.image: say which of a, b it runs"):
            parse(file)
    else:
        assert parse(file).environments["production"].tasks["nightly"].process == "web"


def test_the_default_branchs_tasks_are_the_ones_that_count() -> None:
    ruling = parse(PLACE.format(tasks="{nightly: ./clean}"))
    own = parse(PLACE.format(tasks="{nightly: ./steal, other: ./more}"))

    assert governed(ruling, own).environments["production"].tasks == ruling.environments["production"].tasks
    assert unheard(ruling, own) == ["environments.production.tasks"]
