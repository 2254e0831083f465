"""The short form of `make zero`."""

from __future__ import annotations

from tests.instance import Instance
from tests.integration.conftest import Developer
from tests.parts.engine import Engine
from tests.zero.proof import proven


async def test_deploys_of_three_processes_under_load_lose_no_request_mix_no_releases_and_cut_no_worker_off(
    developer: Developer, blacktree: Instance, clean_engine: Engine
) -> None:
    await blacktree.start("up")
    await blacktree.ready()

    told = await proven(developer, blacktree, clean_engine, deploys=2)

    assert told.failed == []
    assert told.mixed == []
    assert told.cut_off == ""
    assert told.asked > 100
