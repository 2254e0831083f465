"""Which images a build takes from: a Dockerfile is read as Docker itself reads it."""

from __future__ import annotations

import contextlib

import pytest

from workers.build.bases import Refused, Unknown, read, unfetched

PIN = f"a@sha256:{'0' * 64}"
SCRIPT = "FROM python:3\nRUN python3 - <<'EOF'\nfrom {}\nEOF\n"


def bases(content: bytes, args: dict[str, str]) -> list[str]:
    return unfetched(read(content, args))


@pytest.mark.parametrize(
    ("dockerfile", "args", "found"),
    [
        ("FROM scratch", {}, []),
        ("FROM debian:12 AS one\nFROM one\nFROM One AS two", {}, ["debian:12"]),
        ("ARG V=3.11\nFROM python:${V}-slim", {}, ["python:3.11-slim"]),
        ("ARG V=3.11\nFROM python:${V}-slim", {"V": "3.12"}, ["python:3.12-slim"]),
        ("FROM --platform=$BUILDPLATFORM go:1 AS b\nFROM b\nCOPY --from=tool:3 /a /", {}, ["go:1", "tool:3"]),
        ("FROM a AS b\nCOPY --from=b /x /\nCOPY --chown=1:1 --from=0 /x /", {}, ["a"]),
        ("FROM a\nRUN --mount=type=bind,from=tools:1,target=/t true", {}, ["a", "tools:1"]),
        ("FROM a\nRUN --mount=\"'from=b'\" --mount='from=tools:1,target=/t' x", {}, ["a", "tools:1"]),
        ("# syntax=docker/dockerfile:1\n# a comment\nFROM a", {}, ["a", "docker/dockerfile:1"]),
        (f"from {PIN}\nADD . /x", {}, [PIN]),
    ],
)  # fmt: skip
def test_all_images_that_a_build_takes_from_are_found(
    dockerfile: str, args: dict[str, str], found: list[str]
) -> None:
    assert bases(dockerfile.encode(), args) == found


@pytest.mark.parametrize(
    ("dockerfile", "found"),
    [
        (SCRIPT.format("pathlib import Path\nfrom django import VERSION"), ["python:3"]),
        (SCRIPT.format(".models import X"), ["python:3"]),
        (SCRIPT.format(""), ["python:3"]),
        ("FROM a\nCOPY <<EOF /etc/x\nadd http://x y\nEOF\n", ["a"]),
        ("FROM a\nCOPY <<one <<two /etc/\nFROM x\none\nFROM y\ntwo\nCOPY --from=b . .\n", ["a", "b"]),
        ("FROM a\nRUN <<-EOF\n\tFROM x\n\t\tEOF\nCOPY --from=b . .", ["a", "b"]),
        ("FROM a\nRUN <<EOF\n\tEOF\nFROM x\nEOF\nCOPY --from=b . .", ["a", "b"]),
        ('FROM a\nRUN <<"the end"\nFROM x\nthe end\nCOPY --from=b . .', ["a", "b"]),
        ("FROM a\nRUN a <<EOF && \\\n b <<-'END'\nFROM x\nEOF\nFROM y\nEND\nCOPY --from=b . .", ["a", "b"]),
        ("FROM a\r\nRUN <<EOF\r\nFROM x\r\nEOF\r\nCOPY --from=b . .\r\n", ["a", "b"]),
        ("FROM a\nONBUILD RUN <<EOF\nFROM x\nEOF\nCOPY --from=b . .", ["a", "b"]),
        # None of these begins one.
        ("FROM a\nRUN echo '<<EOF'\nCOPY --from=b . .", ["a", "b"]),
        ('FROM a\nRUN ["cat", "<<EOF"]\nCOPY --from=b . .', ["a", "b"]),
        ("FROM a\nRUN cat <<<EOF\nCOPY --from=b . .", ["a", "b"]),
        ("FROM a\nRUN echo $((1<<8)) \\<<EOF\nCOPY --from=b . .", ["a", "b"]),
        ("FROM a\nENV X=<<EOF\nCOPY --from=b . .", ["a", "b"]),
        ("FROM a\nLABEL x=<<EOF\nCOPY --from=b . .", ["a", "b"]),
    ],
)  # fmt: skip
def test_the_lines_of_a_heredoc_are_no_instructions(dockerfile: str, found: list[str]) -> None:
    assert bases(dockerfile.encode(), {}) == found


def test_to_a_builder_that_knows_no_heredocs_their_lines_are_instructions() -> None:
    hidden = b'FROM a\nRUN <<"RUN true"\nFROM private\nRUN true\n'
    assert bases(hidden, {}) == ["a"]
    assert read(hidden, {}, with_heredocs=False).images == ["a", "private"]


@pytest.mark.parametrize(
    ("dockerfile", "found"),
    [
        (b"\xef\xbb\xbfFROM a\n", ["a"]),
        (b"\xef\xbb\xbf# syntax=d/d:1\r\nFROM a\r\n", ["a", "d/d:1"]),
        (b"\n\n  # a comment\n  FROM a \n", ["a"]),
        (b"FROM \\\n  a\\\n:1 \\\n AS b\nFROM b", ["a:1"]),
        (b"FROM a\nRUN x \\\n# FROM c\n\n  && y\nCOPY --from=b . .", ["a", "b"]),
        (b"FROM a\nRUN x && \\\n  FROM b\n", ["a"]),
        (b"# escape=`\nFROM a\nCOPY x c:\\\nCOPY --from=b . .", ["a", "b"]),
        (b"# escape=`\nFROM `\n  a", ["a"]),
        (b"#!/usr/bin/env docker\n# syntax=d/d:1\nFROM a", ["a", "d/d:1"]),
        (b"// syntax=d/d:1\nFROM a", ["a", "d/d:1"]),
        (b"# a comment\n# syntax=d/d:1\nFROM a", ["a"]),
        (b"# check=skip=all\n# syntax = d/d:1 and more\nFROM a", ["a", "d/d:1"]),
        (b'FROM a\nCOPY --from="b" . .\nCOPY --from=\'c\' . .\nCOPY --from=d\\e . .', ["a", "b", "c", "de"]),
        (b"FROM a\nCOPY -- --from=b . .", ["a"]),
        (b"FROM a\nONBUILD COPY --from=b . .", ["a", "b"]),
        (b"FROM a\tAS\tb\nFROM b", ["a"]),
        (b"FROM a\nADD --checksum=sha256:00 https://example.com/x /x", ["a"]),
    ],
)  # fmt: skip
def test_lines_directives_flags_and_marks_are_as_docker_has_them(dockerfile: bytes, found: list[str]) -> None:
    assert bases(dockerfile, {}) == found


@pytest.mark.parametrize(
    ("image", "args", "found"),
    [
        ("node:${V:-20}", {}, "node:20"),
        ("node:${V:-20}", {"V": ""}, "node:20"),
        ("node:${V:-20}", {"V": "22"}, "node:22"),
        ("node${V-:x}", {}, "node:x"),
        ("node${V-:x}", {"V": ""}, "node"),
        ("node${V:+:$V}", {"V": "22"}, "node:22"),
        ("node${V:+:$V}", {"V": ""}, "node"),
        ("node${V+:set}", {"V": ""}, "node:set"),
        ("node:${V:-${W:-20}}", {}, "node:20"),
        ("node:${V:?set-it}", {"V": "22"}, "node:22"),
        ('"node:$V"', {"V": "22"}, "node:22"),
        ("'node':$V-x", {"V": "22"}, "node:22-x"),
        ("no\\de:$V", {"V": "22"}, "node:22"),
        ("node:${V}$W", {"V": "22"}, "node:22"),
        ("node:$T", {"V": "22"}, "node:22-alpine"),
        ("node:$T", {"V": "22", "T": "own"}, "node:own"),
        ("node-${TARGETARCH}", {"TARGETARCH": "arm64"}, "node-arm64"),
        ("node-${BUILDOS}", {}, "node-linux"),
        ("node:$Q", {}, "node:a"),
    ],
)
def test_variables_are_expanded_as_docker_does(image: str, args: dict[str, str], found: str) -> None:
    dockerfile = f"ARG V\nARG W\nARG T=${{V}}-alpine BUILDOS=linux Q='a'\nFROM {image}\nARG V=no\n"
    assert bases(dockerfile.encode(), args) == [found]


def test_an_argument_may_name_the_image_that_reads_the_dockerfile() -> None:
    assert bases(b"# syntax=d/d:1\nFROM a", {"BUILDKIT_SYNTAX": "e/e:1 --x"}) == ["a", "e/e:1"]


@pytest.mark.parametrize(
    ("dockerfile", "why"),
    [
        ("FROM a\nADD https://example.com/x /x", "what ADD fetches"),
        ('FROM a\nADD ["git@example.com:x.git", "/x"]', "what ADD fetches"),
        ("FROM a\nARG URL\nADD $URL /x", "what ADD fetches"),
        ("FROM a\nCOPY --from=$STAGE /x /", "the image"),
        ("FROM a\nFROM", "FROM requires either one or three arguments"),
        ("FROM a b", "FROM requires either one or three arguments"),
        ("FROM $UNSET", "stands for nothing"),
        ("FROM ${V:?set-it}", "set-it"),
        ("FROM ${V", "no }|not written"),
        ("FROM ${}", "not written"),
        ("FROM 'a", "single quote"),
        ('FROM "a', "double quote"),
        ("FROM ${V%.*}", "stands for"),
        ("FROM a-$TARGETARCH", "TARGETARCH"),
        ("ARG SOURCE_DATE_EPOCH=0\nFROM a:$SOURCE_DATE_EPOCH", "SOURCE_DATE_EPOCH"),
        ("FROM a\nRUN <<EOF\n", "without its end"),
        ("# escape=x\nFROM a", "escape token"),
        ("# syntax=a\n# syntax=b\nFROM a", "two directives"),
        ('FROM a\nRUN ["a", 1]', "something else than strings"),
        ('FROM a\nRUN --mount=from="b x', "the image b x"),
        ("FROM a\nRUN --mount='\"from=b' x", "--mount"),
    ],
)
def test_what_can_not_be_told_is_unknown_rather_than_the_same(dockerfile: str, why: str) -> None:
    with pytest.raises(Unknown, match=why):
        bases(dockerfile.encode(), {})


def test_what_no_builder_takes_another_frontend_may() -> None:
    with pytest.raises(Refused):
        read(b"FROM a b", {})
    with pytest.raises(Unknown) as unknown:
        read(b"# syntax=evil/frontend\nFROM a b", {})
    assert not isinstance(unknown.value, Refused)


@pytest.mark.parametrize(
    "hostile",
    [
        "ARG A=aaaaaaaaaa\n" + "".join(f"ARG A=$A$A$A$A # {n}\n" for n in range(40)) + "FROM $A",
        "FROM " + "${A:-" * 40_000 + "}" * 40_000,
        "FROM a\n" + "ONBUILD " * 30_000 + "COPY --from=b . .",
        "FROM a\nRUN " + "--a " * 60_000 + "<<EOF",
        "FROM a\nRUN <<EOF" + "'\"" * 100_000,
        "FROM a\nRUN [" + "[" * 100_000,
        "FROM a\nCOPY --from=b . .\n" * 100_000,
    ],
)  # fmt: skip
@pytest.mark.timeout(60)
def test_a_dockerfile_that_was_made_to_hurt_takes_no_time(hostile: str) -> None:
    with contextlib.suppress(Unknown):
        assert bases(hostile.encode(), {}) == ["a"]
