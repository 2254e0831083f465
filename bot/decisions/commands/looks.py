"""The commands that only look: help, status, logs, plan."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlmodel import col, select

from bot.decisions import admission, answers, plan
from bot.decisions.commands.definition import Asked
from bot.decisions.decision import Decision, Refused
from bot.decisions.deploying import environment_of
from bot.decisions.desk import Desk
from bot.decisions.gates import Wish
from bot.jobs import tasks
from bot.reports import texts
from bot.store import tcp_ports
from bot.store.tables import ContainerRow, Environment, Job, Release, ReleaseState, Run
from config.repository import PREVIEW
from workers.contract.messages import Kind

_MOST_JOBS = 10
_EACH = {
    "services": "service ",
    "processes": "processes.",
    "tasks": "task ",
}  # settings that are told one by one


async def status(desk: Desk, asked: Asked) -> Decision:
    async with desk.store.reading() as session:
        here = select(Environment).where(Environment.repository_id == desk.repository.id)
        places = (await session.exec(here.order_by(col(Environment.name)))).all()
        live = {
            release.environment_id: release
            for release in (
                await session.exec(
                    select(Release)
                    .where(col(Release.environment_id).in_([place.id for place in places]))
                    .where(Release.state == ReleaseState.LIVE)
                )
            ).all()
        }
        running = select(ContainerRow).where(
            col(ContainerRow.release_id).in_([release.id for release in live.values()])
        )
        containers = (await session.exec(running)).all()
        tcp = {
            id_: texts.by_tcp(await tcp_ports.told(session, one))
            for id_, one in live.items()
            if tcp_ports.exposed(one.settings)
        }
    shown = [place for place in places if place.id in live or place.pull_number in (None, asked.head.number)]
    lines = [
        texts.place_line(place, live.get(place.id or 0), containers, tcp.get(place.id or 0, ""))
        for place in shown
    ]
    lines += [line for place in shown for line in await _tasks(desk, place, live.get(place.id or 0))]
    lines += [str(lock) for lock in await admission.locks(desk)]
    return asked.done("\n".join(lines) or "nothing has been deployed yet")


async def _tasks(desk: Desk, place: Environment, live: Release | None) -> list[str]:
    """How each task of what is live there ended last."""
    names = list(tasks.named(live.settings)) if live else []
    async with desk.store.reading() as session:
        found = await tasks.last(session, place.repository_id, place.name, names)
    return [texts.task_line(job) for job in found.values()]


async def logs(desk: Desk, asked: Asked) -> Decision:
    newest = (
        select(Job)
        .join(Run, col(Run.id) == col(Job.run_id))
        .where(Run.repository_id == desk.repository.id, Run.pull_number == asked.head.number)
        .order_by(col(Run.id).desc(), col(Job.id))
    )
    async with desk.store.reading() as session:
        jobs = list((await session.exec(newest.limit(_MOST_JOBS))).all())
    if wanted := asked.arguments[:1]:
        jobs = [job for job in jobs if wanted[0] in (job.id, job.name)]
    else:
        jobs = [job for job in jobs if job.run_id == jobs[0].run_id]
    if not jobs:
        raise Refused("there is no such job here" if wanted else "nothing was run for this pull request")
    return asked.done("\n".join(answers.job_line(job, desk.settings.base_url) for job in jobs))


async def show_plan(desk: Desk, asked: Asked) -> Decision:
    """What a deploy would do, which does nothing."""
    head = asked.head
    name = asked.arguments[0] if asked.arguments else PREVIEW
    config = await desk.config(head.sha)
    if name in (PREVIEW, plan.preview_name(head.number)):
        name = plan.preview_name(head.number)
        jobs = plan.preview(config, head.number, head.sha)
        if not jobs:
            raise Refused("the repository has no previews: its file names no environment preview")
    else:
        environment_of(config, name)
        jobs = plan.deploy(config, name, head.sha, head.ref, head.number)
    deploy = next(job for job in jobs if job.kind is Kind.DEPLOY)
    lines = [f"{name} would run {head.sha[:7]}"]
    if already := await admission.running(desk, deploy, head.sha):
        lines.append(already)
    lines += [
        f"waits for {job.spec['awaits']}" if "awaits" in job.spec else f"builds {job.name}"
        for job in jobs
        if job.kind is Kind.BUILD
    ]
    lines += await _changes(desk, name, deploy.spec)
    wish = Wish(name, head.sha, asked.author, head.number, head.author, head.base, asked.comment_id)
    holding = await admission.holding(desk, wish, deploy.spec)
    lines += [answers.held([closed]) for closed in holding] or ["no gate holds it"]
    return asked.done("\n".join(lines))


async def _changes(desk: Desk, name: str, spec: dict[str, Any]) -> list[str]:
    """Which settings differ from those of what runs now: their names, never their values."""
    async with desk.store.reading() as session:
        live = (
            await session.exec(
                select(Release)
                .join(Environment, col(Environment.id) == col(Release.environment_id))
                .where(Environment.repository_id == desk.repository.id, Environment.name == name)
                .where(Release.state == ReleaseState.LIVE)
            )
        ).first()
    if live is None:
        return ["nothing runs there now"]
    changed = differing(live.settings, spec)
    return [f"replaces {live.sha[:7]}; settings that change: {', '.join(changed) or 'none'}"]


def differing(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Pure: the names of settings that differ; of services and processes, each that does."""
    found = []
    for key in _unequal(old, new):
        if key in _EACH:
            found += [_EACH[key] + name for name in _unequal(old.get(key) or {}, new.get(key) or {})]
        else:
            found.append(key)
    return found


def _unequal(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
