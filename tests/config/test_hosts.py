"""Whose a host name is."""

from __future__ import annotations

import pytest

from config.errors import ConfigError
from config.hosts import Claimant, Rules, owners
from config.sources import load

SHOP = Claimant("acme/shop", "production", "main")
BLOG = Claimant("acme/blog", "production", "main")
TEMPLATE = "{environment}.{repository}.example.com"


@pytest.mark.parametrize(
    ("template", "name", "why"),
    [
        (TEMPLATE, "production.blog.example.com", None),
        (TEMPLATE, "production.shop.example.com", "makes for another repository"),
        (TEMPLATE, "www.shop.example.com", "makes for another repository"),  # it may have such an environment
        (TEMPLATE, "pr-7.not-there-yet.example.com", "makes for another repository"),
        (TEMPLATE, "www.blog.example.com", None),
        (TEMPLATE, "staging.blog.example.com", "the one that DOMAIN makes for staging"),
        (TEMPLATE, "pr-7.blog.example.com", "makes for a pull request's preview"),
        (TEMPLATE, "blog.example.com", None),
        (TEMPLATE, "a.b.c.example.com", None),
        (TEMPLATE, "www.blog.org", None),
        ("{environment}-{repository}.example.com", "production-shop.example.com", "for another repository"),
        ("{repository}.{owner}.example.com", "blog.eve.example.com", "for another repository"),
        ("{repository}.{owner}.example.com", "blog.acme.example.com", None),
        ("{environment}.example.com", "staging.example.com", "the one that DOMAIN makes for staging"),
        ("{environment}.example.com", "www.example.com", None),
        ("{repository}-{pr}.example.com", "blog-8.example.com", "a pull request's preview"),
        ("", "production.shop.example.com", None),
    ],
)
def test_what_domain_makes_is_that_environments_alone(template: str, name: str, why: str | None) -> None:
    known = [SHOP, BLOG, Claimant("acme/blog", "staging")]

    said = Rules(template).refusal(name, BLOG, known)

    assert (said is None) if why is None else (said is not None and why in said)


def test_a_name_that_had_to_be_cut_is_still_another_repositorys() -> None:
    long = Claimant(f"acme/{'x' * 80}", "production")
    cut = next(label for label in long.parts.values() if len(label) == 80)[:54] + "-0123abcd"

    said = Rules(TEMPLATE).refusal(f"production.{cut}.example.com", BLOG)

    assert said is not None
    assert "another repository" in said


@pytest.mark.parametrize(
    "name",
    [
        "localhost", "shop.localhost", "localhost.localdomain", "ip6-localhost", "localhost4", "127.0.0.1",
        "127.1", "2130706433", "0x7f000001", "0x7f.1", "10.0.0.1", "169.254.169.254", "1.2.3.04", "shop.0x1",
    ],
)  # fmt: skip
@pytest.mark.parametrize("template", ["", TEMPLATE])
def test_addresses_and_a_machines_names_for_itself_are_nobodys(template: str, name: str) -> None:
    said = Rules(template).refusal(name, SHOP)

    assert said is not None
    assert "is an address or a machine's name for itself" in said


def test_on_a_developers_machine_domain_may_make_names_below_localhost() -> None:
    rules = Rules("{environment}.{repository}.localhost")

    assert rules.refusal("production.shop.localhost", SHOP) is None
    assert rules.refusal("www.shop.localhost", SHOP) is None
    assert rules.refusal("www.localhost", SHOP) is not None


@pytest.mark.parametrize(
    ("repository", "name", "may"),
    [
        ("acme/shop", "acme.com", True),
        ("acme/shop", "www.acme.com", True),
        ("Acme/Shop", "www.acme.com", True),
        ("acme/blog", "acme.com", True),
        ("eve/shop", "acme.com", False),
        ("acme/shop", "evilacme.com", False),
        ("acme/shop", "acme.com.evil.org", False),
        ("acme/vault", "a.vault.acme.com", True),
        ("acme/shop", "a.vault.acme.com", False),  # the longest suffix says whose it is
        ("acme/shop", "other.org", False),
        ("eve/shop", "eve.test", True),
    ],
)
def test_other_names_are_whose_suffix_they_have(repository: str, name: str, may: bool) -> None:
    given = owners("acme.com=acme/*, vault.acme.com = acme/vault,eve.test=eve/shop,")

    said = Rules(TEMPLATE, given).refusal(name, Claimant(repository, "production"))

    assert (said is None) is may
    assert may or "DOMAIN_OWNERS" in str(said)


@pytest.mark.parametrize(
    "text", ["acme.com", "acme.com=acme", "=acme/*", "acme.com=/x", "a..b=acme/*", "x y=a/b"]
)
def test_owners_that_cannot_be_meant_stop_the_start(text: str) -> None:
    with pytest.raises(ConfigError, match=r"BLACKTREE_DOMAIN_OWNERS: .*must be SUFFIX=OWNER/NAME"):
        load({"BLACKTREE_DOMAIN_OWNERS": text})
