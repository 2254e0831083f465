"""Secrets do not get into a log, however they are printed."""

from __future__ import annotations

import base64
import html
import json
import re
import subprocess
from itertools import pairwise
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from workers.output.forms import forms
from workers.output.masking import MASK, Masker

ODD = "gh+s/\"p@ss' wörd&%<$x>\\!"
TOKEN = "dop_v1_9f86d081884c7d659a2feaa0c55ad015a3bf4f1b"
KEY = "\n".join(
    (
        "-----BEGIN PRIVATE KEY-----",
        *(base64.b64encode(bytes(range(n, n + 48))).decode() for n in range(0, 200, 8)),
        "-----END PRIVATE KEY-----\n",
    )
)


def masked(secrets: list[str], text: str) -> str:
    masker = Masker(secrets)
    return (masker.feed(text.encode()) + masker.end()).decode()


def sh(script: str, secret: str) -> str:
    """What a shell's tools print of it; they get it as $S."""
    done = subprocess.run(
        ["bash", "-c", script], env={"S": secret, "PATH": "/usr/bin:/bin"}, capture_output=True, check=False
    )
    return (done.stdout + done.stderr).decode()


@pytest.mark.parametrize(
    "printed",
    [
        ODD,
        quote(ODD),
        quote(ODD, safe=""),
        re.sub("%..", lambda found: found[0].lower(), quote(ODD, safe="")),
        quote_plus(ODD),
        quote(quote(ODD, safe=""), safe=""),
        quote(ODD, safe="!'()*"),
        json.dumps(ODD)[1:-1],
        json.dumps(ODD, ensure_ascii=False)[1:-1],
        json.dumps(json.dumps(ODD))[3:-3],
        json.dumps(ODD)[1:-1].replace("/", r"\/"),
        json.dumps(ODD)[1:-1].replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026"),
        json.dumps(ODD)[1:-1].replace(r"\u00f6", r"\u00F6"),
        html.escape(ODD),
        html.escape(ODD, quote=False),
        html.escape(ODD).replace("&#x27;", "&#39;").replace("&quot;", "&#34;"),
        html.escape(ODD).replace("&#x27;", "&apos;"),
        ODD.encode().hex(),
        ODD.encode().hex().upper(),
        repr(ODD)[1:-1],
        repr(ODD.encode())[2:-1],
    ],
)
def test_a_secret_is_masked_in_every_form(printed: str) -> None:
    assert masked([ODD], f"before {printed} after\n") == "before *** after\n"


def assert_shown(secret: str, script: str, expected: str) -> None:
    shown = masked([secret], sh(script, secret))
    assert re.fullmatch(expected.replace("●", r"\*\*\*"), shown), shown


@pytest.mark.parametrize("secret", [ODD, TOKEN, "p$w`d!x", r"back\slash\\twice", 'it\'s "so"'])
@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ('printf "%s" "$S"', "●"),
        ('printf "%q" "$S"', r"(\$')?●'?"),
        ('printf "%s" "${S@Q}"', r"\$?'●'"),
        ("declare -p S", r"""declare -x S=(\$'|")●['"]\n"""),
        ('set -x; : "$S"', r"\+ : '?●'?\n"),
        ('printf "%s" "$S" | base64 -w 0', "●"),
        ('printf "user:%s" "$S" | base64 -w 0', "dXNlcj.?●"),
        ('printf "us:%s:more" "$S" | base64 -w 0 | tr +/ -_', "dXM6●.{4,11}"),
        ('printf "auth:%s" "$S" | base64 -w 0 | base64 -w 0', "WVhWMGFE.{0,3}●"),
        ('printf "%s" "$S" | od -An -v -tx1 | tr -d " \\n"', "●"),
    ],
)
def test_what_a_shell_prints_of_a_secret_is_masked(script: str, expected: str, secret: str) -> None:
    assert_shown(secret, script, expected)


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ('echo "$S"', r"(●\n)+\n"),
        ('echo "$S" | sed "s/^/      /; s/$/\\r/"', r"( {6}●\r\n)+ {6}\r\n"),
        ('echo "$S" | sed "s/^/#7 0.412 /"', r"(#7 0.412 ●\n)+#7 0.412 \n"),
        ("printf '%s' \"${S//$'\\n'/\\\\n}\"", "●"),
        ('printf "%s" "$S" | base64', r"(●\n)+"),
        ('printf "%s" "$S" | base64 -w 64', r"(●\n)+"),
        ('echo "some more; $S" | base64', r"c29tZSBtb3JlOyA●\n(●\n)+●?.{0,4}\n"),
        (
            'echo "some more; $S" | base64 -w 64 | sed "s/^/#7 /"',
            r"#7 c29tZSBtb3JlOyA●\n(#7 ●\n)+#7 ●?.{0,4}\n",
        ),
        ('echo "$S" | fold -w 40', r"(●\n|[\w+/= -]{0,28}\n)+"),
    ],
)
def test_a_key_of_many_lines_is_masked_however_it_is_broken_into_lines(script: str, expected: str) -> None:
    assert_shown(KEY, script, expected)


def test_secrets_within_and_across_each_other_are_all_masked() -> None:
    secrets = ["abcdef", "defghi", "secret-1", "secret-1-longer", ".*+?[a](b)|^$"]
    assert masked(secrets, "xabcdefghix secret-1-longer secret-1- .*+?[a](b)|^$ aaaa\n") == (
        "x***x *** ***- *** aaaa\n"
    )


def test_a_secret_that_is_learned_late_is_masked_from_then_on_also_in_what_was_held_back() -> None:
    masker = Masker(["known-secret"])
    given = masker.feed(b"late-secret\nlate-se")
    masker.learn("late-secret")
    given += masker.feed(b"cret known-secret\n") + masker.end()
    assert given == b"late-secret\n*** ***\n"


def test_one_mask_for_each_of_two_side_by_side() -> None:
    assert masked(["abcd", "efgh"], "abcdefgh") == "******"


@pytest.mark.parametrize("secret", ["abc", "", " ", "     ", "\n\n"])
def test_what_is_too_short_to_be_told_from_text_is_not_masked(secret: str) -> None:
    assert masked([secret], "abc     abc\n\n") == "abc     abc\n\n"


@pytest.mark.parametrize(
    "token",
    [
        "ghp_" + "a1B2" * 9,
        "ghs_" + "a1B2" * 9,
        "ghs_" + "123_eyJhbGciOi" * 36 + ".x-y_z",
        "github_pat_" + "A1" * 11 + "_" + "b2" * 29,
        "dckr_pat_" + "A1b-_" * 5,
    ],
)
def test_a_token_of_a_well_known_shape_is_masked_though_nobody_told_it(token: str) -> None:
    assert masked([], f"remote: https://x:{token}@github.com\n") == "remote: https://x:***@github.com\n"


@pytest.mark.parametrize(
    "text", ["ghp_short", "my_ghp_variable_name", "github_pat_ is a prefix", "dckr_pat_"]
)
def test_what_only_begins_like_a_token_stays(text: str) -> None:
    assert masked([], text) == text


def test_a_sentence_is_masked_by_itself() -> None:
    masker = Masker([TOKEN])
    masker.feed(TOKEN[:10].encode())
    assert masker.masked(f"it said {TOKEN}: \udcff") == "it said ***: ?"


def test_a_line_that_has_ended_is_not_held_back() -> None:
    masker = Masker([KEY])
    assert masker.feed(b"one\ntw") + masker.feed(b"o\nthr") == b"one\ntwo\n"


def test_of_a_line_that_does_not_end_little_is_held_back() -> None:
    masker = Masker([TOKEN])
    given = sum(len(masker.feed("ü".encode() * 5000)) for _ in range(20))
    assert 190_000 < given < 200_000


_WORDS = st.text(st.sampled_from('ab01+/="\\ %&üπ🚀\n'), min_size=4, max_size=40)


@st.composite
def printed(draw: st.DrawFn) -> tuple[list[str], bytes]:
    """Secrets, and a text that has them whole, coded and in part."""
    secrets = draw(st.lists(_WORDS, max_size=4))
    coded = [
        form
        for secret in secrets
        for form in (
            secret,
            secret[:-1],
            secret[2:],
            quote(secret),
            json.dumps(secret),
            base64.b64encode(b"x" + secret.encode()).decode(),
            secret.encode().hex(),
        )
    ]
    some = st.sampled_from(coded) | _WORDS if coded else _WORDS
    return secrets, "".join(draw(st.lists(some, max_size=12))).encode()


@example(
    (["00000000==============🚀"], b"00000000%3D%3D%3D%3D%3D%3D%3D%3D%3D%3D%3D%3D%3D%3D%F0%9F%9A%80"), [61]
)
@given(printed(), st.lists(st.integers(0, 400), max_size=8))
def test_a_text_is_masked_the_same_however_it_is_cut(case: tuple[list[str], bytes], cuts: list[int]) -> None:
    secrets, text = case
    whole = Masker(secrets)
    expected = whole.feed(text) + whole.end()
    masker = Masker(secrets)
    # As long as the forms are here, and no token is, so that long lines are met.
    masker._longest = max(
        [60, *(len(form) for found in map(forms, secrets) for form in (*found.whole, *found.wrapped))]
    )
    ends = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})
    pieces = [text[start:end] for start, end in pairwise(ends)]
    assert b"".join([*map(masker.feed, pieces), masker.end()]) == expected
    for secret in secrets:
        for line in secret.split("\n"):
            assert len(line.strip()) < 4 or MASK in line.encode() or line.strip().encode() not in expected
