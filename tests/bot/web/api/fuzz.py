"""schemathesis against the API of a bot without a worker: `python -m tests.bot.web.api.fuzz [--examples N]`.

It reads openapi.json as anybody would, as a program of its own. Streams have no end, so it leaves them out,
and the tests of channels and webhooks, which wait for an outbox that is not there: it would tell strangers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
from pathlib import Path

from bot.github.forge import GitHub as Forge
from bot.store.database import Store
from config.settings import Settings
from tests.bot.intake.test_receiver import TOKEN
from tests.bot.web.api.conftest import asked_of
from tests.github import GitHub
from tests.github.contract import Contract

CONFIG = Path(__file__).parent / "schemathesis.toml"
UNBOUNDED = (10**9, 10**9)
LEFT_OUT = "(events|environments/.*/logs|(channels|webhooks)/.*/test)$"


async def fuzz(folder: Path, github: GitHub, *options: str) -> tuple[int, str]:
    """Run it against a fresh bot; how it exits, and what it printed."""
    shop = await github.create_repository(
        "acme/shop", {"Dockerfile": "FROM scratch\n", ".blacktree.yml": FILE}
    )
    github.install_app(shop)
    settings = Settings(
        data_dir=folder,
        proxy="none",
        secret_key="00" * 32,
        github_api_url=github.api_url,
        github_webhook_secret=github.app.webhook_secret,
        github_app_id=github.app.id,
        github_app_private_key=github.app.private_key,
    )
    async with (
        Store.opened(f"sqlite:///{folder / 'fuzzed.db'}") as store,
        Forge.connected(settings, store.instruments) as forge,
        asked_of(store, settings, forge, UNBOUNDED) as asked,
    ):
        program = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(CONFIG), "run",
            f"{asked.url}/api/v1/openapi.json", "--header", f"Authorization: Bearer {TOKEN}",
            "--exclude-path-regex", LEFT_OUT, "--no-color", "--request-timeout", "60", *options,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            cwd=folder, env={**os.environ, "NO_COLOR": "1", "COLUMNS": "120"},
        )  # fmt: skip
        try:
            printed, _ = await program.communicate()
        finally:
            if program.returncode is None:
                program.kill()
        return program.returncode or 0, printed.decode(errors="replace")


FILE = """
environments:
  production: {}
  preview: {}
"""


async def _main() -> int:
    reads = argparse.ArgumentParser(description=__doc__)
    reads.add_argument("--examples", default="200", help="of each operation")
    examples = reads.parse_args().examples
    folder = Path(tempfile.mkdtemp())
    try:
        async with GitHub.running(folder / "github", contract=Contract.find()) as github:
            status, printed = await fuzz(folder, github, "--max-examples", examples)
    finally:
        shutil.rmtree(folder)
    print(printed)
    return status


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
