"""The commands that there are. `/help` and docs/commands.md are made from this table."""

from __future__ import annotations

from bot.decisions.commands import control, deploys, looks, tasks
from bot.decisions.commands.definition import Asked, Definition, Permission
from bot.decisions.decision import Decision
from bot.decisions.desk import Desk

ANYBODY, WRITE = Permission.ANYBODY, Permission.WRITE


def overview() -> str:
    """All commands, a line each."""
    return "\n".join(f"{one.form} - {one.summary} ({one.permission})" for one in COMMANDS.values())


def documentation() -> str:
    """The table of commands in docs/commands.md."""
    lines = ["| command | who | what it does |", "|---|---|---|"]
    for one in COMMANDS.values():
        form = one.form.replace("|", "\\|")
        lines.append(f"| `{form}` | {one.permission} | {one.summary} |")
    return "\n".join(lines) + "\n"


async def _help(_desk: Desk, asked: Asked) -> Decision:
    return asked.done(overview())


COMMANDS = {
    definition.name: definition
    for definition in (
        Definition(
            "build",
            f"[image] [{deploys.FRESH}]",
            WRITE,
            f"build the head's images, or one; {deploys.FRESH} takes nothing from earlier builds",
            deploys.build,
            0,
            2,
            pinned=True,
        ),
        Definition(
            "deploy",
            "[environment] | <default branch> to <environment>",
            WRITE,
            "build the head and deploy it to its preview or to an environment whose gates are open; "
            "or go back to the default branch",
            deploys.deploy,
            0,
            3,
            pinned=True,
        ),
        Definition(
            "promote",
            "<from> <to>",
            WRITE,
            "deploy to one environment the very image that another runs",
            deploys.promote,
            2,
            2,
        ),
        Definition(
            "rollback",
            "<environment> [release]",
            WRITE,
            "deploy the release before, or the one named by its number or commit, with its settings",
            deploys.rollback,
            1,
            2,
        ),
        Definition(
            "redeploy",
            "",
            WRITE,
            "build and start this pull request's preview again",
            deploys.redeploy,
            pinned=True,
        ),
        Definition(
            "run",
            "<task> [environment]",
            WRITE,
            "run a task of what is live, once; in this pull request's preview if that has it",
            tasks.run,
            1,
            2,
        ),
        Definition(
            "update",
            "[environment] <service>",
            WRITE,
            "have a service run what its tag is now; in this pull request's preview if that has it",
            tasks.update,
            1,
            2,
        ),
        Definition("retry", "", WRITE, "run once more what failed for this head", deploys.retry, pinned=True),
        Definition("cancel", "", WRITE, "end everything that this pull request does", control.cancel),
        Definition("stop", "", WRITE, "stop this pull request's preview", control.stop, closed=True),
        Definition("extend", "<time>", WRITE, "keep the preview longer, such as 24h", control.extend, 1, 1),
        Definition("logs", "[job]", ANYBODY, "where the logs of the newest jobs are", looks.logs, 0, 1),
        Definition("status", "", ANYBODY, "what runs where, and what is locked", looks.status, closed=True),
        Definition(
            "approve",
            "<sha>",
            WRITE,
            "let exactly this commit of a fork be built, or be deployed to a protected environment",
            control.approve,
            1,
            1,
        ),
        Definition(
            "lock",
            "<environment> | --global [--for=2h] [reason] | --info",
            WRITE,
            "let only you deploy there until it is freed, or that time is over; or say who holds it",
            control.lock,
            1,
            40,
            closed=True,
        ),
        Definition(
            "unlock", "<environment> | --global", WRITE, "free a lock", control.unlock, 1, 1, closed=True
        ),
        Definition(
            "maintenance",
            "<environment> on [text] | off",
            WRITE,
            "show visitors a page instead of the app, or the app again",
            control.maintenance,
            2,
            80,
            closed=True,
        ),
        Definition(
            "plan",
            "[environment]",
            ANYBODY,
            "say what a deploy would do, and do nothing",
            looks.show_plan,
            0,
            1,
        ),
        Definition("help", "", ANYBODY, "this list", _help, closed=True),
    )
}
