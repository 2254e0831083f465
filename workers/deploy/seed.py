"""The commands that fill a preview's new services, each run once in the release's image."""

from __future__ import annotations

from collections.abc import Sequence

from workers.attempt import Attempt
from workers.contract.messages import DeploySpec, Step
from workers.contract.services import ServiceSpec
from workers.deploy import service_news
from workers.deploy.release import ran
from workers.tools import Tools


async def seeded(
    attempt: Attempt,
    spec: DeploySpec,
    empty: Sequence[ServiceSpec],
    tools: Tools,
    network: str,
    networks: list[str],
) -> None:
    """Fill each; one that failed is tried again by the next deploy. Raises Failure."""
    empty = [one for one in empty if one.seed]
    if not empty:
        return
    async with attempt.step(Step.SEED):
        for one in empty:
            attempt.log.line(f"{one.name}: {' '.join(one.seed)}")
            await ran(attempt, spec, one.seed, tools, network, networks, f"The seed command of {one.name}")
            await service_news.kept(attempt, tools, one.name, seeded=True)
