"""Credentials are readable by the one worker that asked, and in no text that somebody might log."""

from __future__ import annotations

import traceback

import pytest
from pydantic import ValidationError

from workers.contract.messages import Credentials, RegistryLogin
from workers.contract.seal import Keys, seal

GIVEN = Credentials(
    git_username="x-access-token",
    git_password="hush-git",
    registries=[RegistryLogin(host="ghcr.io", username="ada", password="hush-registry")],
    trust="hush-trust",
    build={"NPM_TOKEN": "hush-build"},
    env={"DATABASE_URL": "hush-env"},
)


def test_only_the_worker_that_asked_reads_them() -> None:
    keys = Keys()
    sealed = seal(GIVEN, keys.public)

    assert keys.open(sealed) == GIVEN
    assert b"hush".hex() not in sealed


@pytest.mark.parametrize("text", [repr(GIVEN), str(GIVEN), f"{[GIVEN]}"])
def test_no_value_is_in_what_python_prints_of_them(text: str) -> None:
    assert "hush" not in text
    assert "ghcr.io" in text


def test_no_value_is_in_what_is_said_of_bad_ones() -> None:
    bad = GIVEN.model_dump_json().replace('"git_username"', '"wrong"').replace('"ada"', "7")

    with pytest.raises(ValidationError) as failed:
        Credentials.model_validate_json(bad)

    assert "hush" not in "".join(traceback.format_exception(failed.value))
