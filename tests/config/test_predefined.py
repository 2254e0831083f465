"""Build arguments that are the instance's to set, never a repository's."""

from __future__ import annotations

import pytest

from config.errors import ConfigError
from config.repository import parse
from config.sources import load

FILE = "images:\n  app:\n    args:\n      {}: x\n"


@pytest.mark.parametrize(
    "name",
    [
        *("http_proxy", "HTTPS_PROXY", "Ftp_Proxy", "no_proxy", "ALL_PROXY"),
        *("BUILDKIT_CACHE_MOUNT_NS", "BUILDKIT_SYNTAX", "buildkit_inline_cache", "SOURCE_DATE_EPOCH"),
    ],
)
def test_a_repository_sets_no_argument_that_is_in_no_layers_key(name: str) -> None:
    with pytest.raises(ConfigError) as failed:
        parse(FILE.format(name))

    assert str(failed.value).startswith(f".blacktree.yml:4: images.app.args.{name}: ")
    assert "BUILD_HTTP_PROXY" in str(failed.value)


@pytest.mark.parametrize("name", ["PROXY", "MY_http_proxy", "DOCKER_VERSION", "EPOCH", "TARGETARCH"])
def test_other_arguments_are_a_repositorys(name: str) -> None:
    assert parse(FILE.format(name)).images["app"].args == {name: "x"}


def test_the_proxies_of_builds_are_settings_and_programs_find_them_in_either_case() -> None:
    settings = load({"BLACKTREE_BUILD_HTTP_PROXY": "http://ada:pw@p:1", "BLACKTREE_BUILD_NO_PROXY": "a,b"})

    assert settings.build_proxies == {
        "http_proxy": "http://ada:pw@p:1", "HTTP_PROXY": "http://ada:pw@p:1",
        "no_proxy": "a,b", "NO_PROXY": "a,b",
    }  # fmt: skip
    assert "pw" not in repr(settings)


def test_no_prefix_lies_below_another() -> None:
    with pytest.raises(ConfigError, match=r"ghcr\.io/acme/x lies below ghcr\.io/acme"):
        load({"BLACKTREE_REGISTRY": "ghcr.io/acme", "BLACKTREE_PUSH_REGISTRIES": "quay.io, ghcr.io/acme/x"})


def test_a_login_that_only_reads_is_whole() -> None:
    with pytest.raises(ConfigError, match="REGISTRY_PULL_USERNAME and REGISTRY_PULL_PASSWORD go together"):
        load({"BLACKTREE_REGISTRY_PULL_USERNAME": "ada"})
