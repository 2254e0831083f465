"""Deliveries from GitHub's own addresses alone, where the instance wants it so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from structlog.testing import capture_logs

from bot.doctor import senders as checked
from bot.github.forge import GitHub as Forge
from bot.intake.senders import Senders, proxied
from bot.main import bot
from bot.store.database import Store
from config.settings import Settings
from config.trust import trusted
from tests.bot.intake.test_receiver import JSON, PUSH, Door, door_to, told
from tests.github import Fault, GitHub
from workers.contract.memory import MemoryQueue

BODY = json.dumps(PUSH).encode()


@pytest.fixture
async def senders(github: GitHub) -> AsyncIterator[Senders]:
    settings = Settings(github_api_url=github.api_url, github_token=github.user("ada").token)
    async with Forge.connected(settings) as forge:
        yield Senders(forge)


async def delivered(store: Store, folder: Path, senders: Senders, address: str) -> httpx2.Response:
    """The answer to a good delivery from one of this machine's addresses."""
    async with door_to(store, folder, senders=senders) as door:
        transport = httpx2.AsyncHTTPTransport(local_address=address)
        async with httpx2.AsyncClient(
            verify=trusted(), base_url=door.http.base_url, transport=transport, timeout=60
        ) as http:
            return await Door(http, store).deliver(BODY, content_type=JSON)


async def test_what_comes_from_elsewhere_is_refused_though_it_is_signed(
    store: Store, tmp_path: Path, senders: Senders
) -> None:
    assert await senders.look()

    refused = await delivered(store, tmp_path, senders, "127.0.0.2")
    assert (refused.status_code, "GITHUB_ADDRESSES" in told(refused)) == (403, True)
    assert (await delivered(store, tmp_path, senders, "127.0.0.1")).status_code == 202


async def test_while_github_has_not_told_them_all_are_taken_and_what_it_told_last_counts(
    store: Store, tmp_path: Path, senders: Senders, github: GitHub
) -> None:
    with github.down():
        assert not await senders.look()
    assert (await delivered(store, tmp_path, senders, "127.0.0.2")).status_code == 202

    assert await senders.look()
    github.faults.add(Fault(method="GET", path="/meta", status=502, times=1))
    assert not await senders.look()
    assert not senders.has("127.0.0.2")


async def test_an_address_in_ipv6_clothes_is_the_one_that_it_is(senders: Senders) -> None:
    await senders.look()
    assert senders.has("::ffff:127.0.0.1")
    assert not senders.has("::ffff:127.0.0.2")
    assert not senders.has("2001:db8::1")


async def test_what_is_no_address_is_not_listened_to(senders: Senders) -> None:
    await senders.look()
    assert [senders.has(name) for name in ("", "testclient", "/run/bot.sock", "127.0.0.1:80")] == [False] * 4


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"github_addresses": False, "public_url": "https://ci.example.com"}, ""),
        ({"host": "::", "public_url": "https://ci.example.com"}, "PUBLIC_URL is https"),
        ({"host": "::", "public_url": "HTTPS://ci.example.com"}, "PUBLIC_URL is https"),
        ({"host": "127.0.0.1"}, "HOST is 127.0.0.1"),
        ({"host": "[::1]"}, "HOST is ::1"),
        ({"host": "localhost"}, "HOST is localhost"),
        ({"host": "127.0.0.1", "github_api_url": "http://127.0.0.1:9/api/v3"}, ""),
        ({"host": "10.0.0.7", "public_url": "http://ci.example.com:8000"}, ""),
        ({"host": "[::]"}, ""),
    ],
)
def test_a_proxy_before_the_bot_hides_githubs_addresses_and_doctor_says_so(
    given: dict[str, Any], why: str
) -> None:
    settings = Settings(**{"github_addresses": True, **given})

    assert proxied(settings).startswith(why)
    check = checked(settings)
    assert (check.ok, bool(check.todo)) == (not why, bool(why))
    assert why in check.found


async def test_a_start_behind_a_proxy_warns_of_it(tmp_path: Path, github: GitHub) -> None:
    settings = Settings(
        github_addresses=True,
        public_url="https://ci.example.com",
        github_api_url=github.api_url,
        github_token=github.user("ada").token,
        github_webhook_secret="a secret of the webhook",
        data_dir=tmp_path / "data",
        proxy="none",
        port=0,
    )
    with capture_logs() as told:
        async with bot(settings, MemoryQueue(), asyncio.Event()):
            pass

    warned = [line for line in told if "GITHUB_ADDRESSES" in line["event"]]
    assert [line["log_level"] for line in warned] == ["warning"]
    assert "PUBLIC_URL is https" in warned[0]["why"]
    assert "docs/security.md#strangers" in warned[0]["todo"]
