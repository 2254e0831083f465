"""A machine with other users: what bot and worker keep there is nobody else's to read."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

import pytest

from tests.github import GitHub
from tests.instance import instance


@pytest.mark.usefixtures("engine")
async def test_all_that_a_bot_and_its_worker_make_is_their_users_alone_whatever_the_umask(
    tmp_path: Path, github: GitHub
) -> None:
    before = os.umask(0)
    try:
        async with instance(tmp_path, github, proxy_bind="127.0.0.1") as here:
            await here.start("up")
            await here.ready()
            assert (await here.api("/runs")) == []
            folder = tmp_path / "up"

            async def worked() -> bool:
                return len(await here.api("/workers")) == 1

            await here.until(worked, "the worker to be known")
            made = [folder, *folder.rglob("*")]
            modes: dict[str, int] = {}
            for place in made:
                with suppress(FileNotFoundError):  # what is written anew has another name first
                    modes[str(place.relative_to(folder))] = stat.S_IMODE(place.lstat().st_mode)
    finally:
        os.umask(before)

    assert {"blacktree.db", "blacktree.db-wal", "api.token", "secret.key", "worker.lock"} <= modes.keys()
    assert {"caddy/admin.sock", "caddy/initial.json", "caddy/caddy.log", "work", "mirrors"} & modes.keys()
    links = {str(place.relative_to(folder)) for place in made if place.is_symlink()}
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077 and name not in links} == {}
