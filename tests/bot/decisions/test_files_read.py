"""Which files of a commit are asked of GitHub, and by which address."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlsplit

import pytest
from gidgethub.sansio import format_url

from bot.decisions.files import said
from bot.github.client import GitHubRefused
from bot.github.forge import GitHub
from bot.store.tables import Repository
from config.errors import ConfigError

REPOSITORY = Repository(id=1, full_name="acme/shop", default_branch="main")


class Calls:
    """GitHub's contents, by path."""

    def __init__(self, contents: dict[str, dict[str, Any]]) -> None:
        self.contents = contents
        self.asked: list[str] = []

    async def get(self, _: Repository, path: str, **variables: str) -> Any:
        address = urlsplit(format_url(path, variables, base_url="https://api.test"))
        self.asked.append(f"{address.path}?{address.query}")
        if address.path == "/contents":
            return [{"name": name} for name in self.contents]
        if (named := address.path.removeprefix("/contents/")) not in self.contents:
            raise GitHubRefused(404, "Not Found")
        return self.contents[named]


def forge(contents: dict[str, dict[str, Any]]) -> tuple[GitHub, Calls]:
    github, calls = GitHub.__new__(GitHub), Calls(contents)
    github._calls = calls  # type: ignore[assignment]
    return github, calls


def content(text: str) -> dict[str, Any]:
    return {"encoding": "base64", "content": base64.b64encode(text.encode()).decode()}


@pytest.mark.parametrize(
    "path", ["a/x?ref=other&", "a/%2e%2e/%2e%2e/git/refs", "a/{ref}", "a/x#", "a/{+ref}{?x*}"]
)
async def test_a_file_is_asked_for_by_its_own_name_and_at_its_own_commit(path: str) -> None:
    github, calls = forge({})
    await github.file(REPOSITORY, path, "0" * 40)

    (asked,) = calls.asked
    assert asked.endswith(f"?ref={'0' * 40}")
    assert asked.count("?") == 1
    assert not {*asked.partition("?")[0]} & {*"{}#"}
    assert "/%2e" not in asked


async def test_a_file_that_github_does_not_send_for_its_size_is_not_an_empty_one() -> None:
    github, _ = forge({"compose.yaml": {"encoding": "none", "content": ""}})
    with pytest.raises(ConfigError, match=r"compose\.yaml: is too large a file"):
        await github.file(REPOSITORY, "compose.yaml", "0" * 40)


async def test_an_empty_compose_file_is_a_fault_as_the_check_has_it() -> None:
    github, _ = forge({"compose.yaml": content("")})
    with pytest.raises(ConfigError, match="must be a mapping with `services`"):
        await said(github, REPOSITORY, "0" * 40)
