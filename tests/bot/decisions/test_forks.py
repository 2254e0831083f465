"""Where strangers' code runs: as the administrator says, and not as a repository's file does."""

from __future__ import annotations

import pytest

from bot.decisions.forks import pool_of
from config.repository import parse
from config.settings import Settings


@pytest.mark.parametrize(
    ("given", "trusted", "own", "pool"),
    [
        ("", "", None, None),
        ("", "", "weak", "weak"),
        ("strangers", "", None, "strangers"),
        ("strangers", "", "production", "strangers"),
        ("strangers", "acme/other", "production", "strangers"),
        ("strangers", "acme/*", "weak", "weak"),
        ("strangers", "acme/*", None, "strangers"),
    ],
)
def test_a_file_sends_forks_elsewhere_only_where_the_administrator_lets_it(
    given: str, trusted: str, own: str | None, pool: str | None
) -> None:
    config = parse(f"fork_pool: {own}\n" if own else None)
    settings = Settings(fork_pool=given, trusted_repositories=trusted)

    assert pool_of(config, settings, "acme/shop") == pool
