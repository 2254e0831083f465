"""python -m tests.zero [--deploys 100]"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

from tests.github import GitHub
from tests.instance import instance
from tests.integration.conftest import Developer
from tests.parts.dockerd import engine_of_its_own
from tests.parts.engine import Engine
from tests.zero.proof import Told, proven


def main() -> int:
    """Prove it with an engine of its own; the exit code is 0 if nothing was lost."""
    parser = argparse.ArgumentParser(prog="python -m tests.zero", description=__doc__)
    parser.add_argument("--deploys", type=int, default=100)
    deploys = parser.parse_args().deploys
    with engine_of_its_own("8g") as engine:
        engine.base_image()
        told = asyncio.run(_proven(engine, deploys))
    kinds = "3 processes in 2 images"
    print(f"{deploys} deploys of {kinds}: {len(told.failed)} of {told.asked} requests failed   goal 0")
    print(f"{'visitors who saw two releases at once':<42} {len(told.mixed)} of {len(told.visitors)}   goal 0")
    print(f"{'workers that were cut off, or not alone':<42} {told.cut_off or 'none'}")
    for line in [*told.failed[:20], *told.mixed]:
        print(line)
    return 1 if told.failed or told.mixed or told.cut_off else 0


async def _proven(engine: Engine, deploys: int) -> Told:
    folder = Path(tempfile.mkdtemp(prefix="blacktree-zero-"))
    try:
        async with GitHub.running(folder / "github") as github, instance(folder, github) as blacktree:
            ada = github.user("ada")
            shop = await github.create_repository("acme/shop", {"README": ""}, collaborators={"ada": "write"})
            await blacktree.start("up")
            await blacktree.ready()
            github.install_app(shop)
            developer = Developer(github, ada, shop, await shop.clone(folder / "work", ada))
            return await proven(
                developer, blacktree, engine, deploys, lambda text: print(text, file=sys.stderr)
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
