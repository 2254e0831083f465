"""Pure: where in the repository a failed job's log says that something is wrong, as check runs show it.

Read is what BuildKit says of a Dockerfile, and what the usual tools print of a file and a line: compilers
and linters (`file:line:col: error: …`: gcc, clang, go, mypy, ruff, eslint --format unix, tsc both ways),
pytest, go test, jest, vitest and node. What names no file of the repository is left out.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

MOST = 100  # of one check run
AT_ONCE = 50  # https://docs.github.com/rest/checks/runs: of one request
_MOST_MESSAGE = 1_000  # characters; GitHub takes 64 KB
_MOST_LINE = 2_000  # characters of a line that is read
_MOST_LINES = 20_000

FAILURE, WARNING = "failure", "warning"


@dataclass(frozen=True)
class Annotation:
    """Something wrong at a line of a file."""

    path: str
    line: int
    message: str
    level: str = FAILURE


_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# What builders print before each line: `#7 12.34 `.
_BUILDKIT = re.compile(r"^#\d+ (?:\d+\.\d+ )?")
_WORKDIR = re.compile(r"\] WORKDIR (/\S*)")
_FILE = r"(?P<path>(?:\.{0,2}/)?[\w@+.-]+(?:/[\w@+.()\[\]-]+)*\.[A-Za-z][\w+]{0,9})"
# gcc, clang, mypy, ruff, go vet, eslint --format unix: src/a.c:12:7: error: expected ';'
_COMPILER = re.compile(
    rf"^{_FILE}:(?P<line>\d{{1,7}})(?::\d{{1,6}})?: "
    r"(?:fatal )?(?:(?P<level>error|warning|note)\b:? ?)?(?P<said>.+)$"
)
# tsc: src/a.ts(12,7): error TS2322: …    and its pretty form: src/a.ts:12:7 - error TS2322: …
_TSC = re.compile(
    rf"^{_FILE}(?:\((?P<line>\d{{1,7}}),\d{{1,6}}\):|:(?P<line2>\d{{1,7}}):\d{{1,6}} -) "
    r"(?P<level>error|warning) (?P<said>.+)$"
)
# pytest's last line of a failure: tests/test_a.py:12: AssertionError
_PYTEST = re.compile(
    rf"^{_FILE}:(?P<line>\d{{1,7}}): (?P<said>[A-Z]\w*(?:Error|Exception|Failed|Exit|Warning)\b.*)$"
)
_PYTEST_SAID = re.compile(r"^E   +(?P<said>\S.*)$")
# go test: "    a_test.go:12: got 1, want 2"; only a file's name, of the package that `--- FAIL` is in
_GO = re.compile(r"^\s{4,}(?P<path>[\w.-]+_test\.go):(?P<line>\d{1,7}): (?P<said>.+)$")
_GO_PACKAGE = re.compile(r"^(?:FAIL|ok)\s+(?P<package>\S+)\s")
# jest, vitest, node: "    at Object.<anonymous> (src/a.test.ts:12:7)", vitest with an angle in front
_AT = re.compile(rf"^\s+(?:at (?:.+ \()?(?:file://)?|\u276f ){_FILE}:(?P<line>\d{{1,7}}):\d{{1,6}}\)?$")
_TEST = re.compile(r"^\s*(?:●|✕|✖|\u00d7|FAIL)\s+(?P<said>\S.*)$")
# BuildKit: "Dockerfile:3", then "   3 | >>> RUN make"; and of what is no Dockerfile "… on line 2: …"
_DOCKERFILE = re.compile(r"^(?P<path>[\w./-]*[Dd]ockerfile[\w.-]*):(?P<line>\d{1,5})$")
_UNREAD = re.compile(r"dockerfile parse error (?:on )?line (?P<line>\d{1,5}): (?P<said>.+)", re.I)
_SOLVED = re.compile(r"^ERROR: failed to (?:build: failed to )?solve: (?P<said>.+)$")
# Where an image's files lie, if its log does not say so.
_ROOTS = ("/app", "/usr/src/app", "/src", "/code", "/workspace", "/work", "/build", "/repo", "/srv/app")
_NOT_OURS = re.compile(
    r"(^|/)(node_modules|site-packages|dist-packages|vendor|\.venv|go/pkg|usr/lib|usr/local)/"
)


def found(log: str, dockerfile: str = "Dockerfile", context: str = ".") -> list[Annotation]:
    """What a log says, the worst first, each once. Dockerfile and context are the job's."""
    lines = [_plain(line) for line in log.splitlines()[-_MOST_LINES:]]
    roots = [
        *dict.fromkeys(match[1].rstrip("/") for line in lines if (match := _WORKDIR.search(line))),
        *_ROOTS,
    ]
    seen: dict[tuple[str, int], Annotation] = {}
    for one in (*_of_dockerfile(lines, dockerfile), *_of_tools(lines)):
        path = one.path if one.path == dockerfile else _within(one.path, roots, context)
        if path and one.line > 0:
            told = Annotation(path, one.line, one.message[:_MOST_MESSAGE], one.level)
            seen.setdefault((path, one.line), told)
    worst = sorted(seen.values(), key=lambda one: one.level != FAILURE)  # stable: else as they came
    return worst[:MOST]


def _plain(line: str) -> str:
    text = _ANSI.sub("", line[:_MOST_LINE]).replace("\0", "").rstrip()
    return _BUILDKIT.sub("", text)


def _of_dockerfile(lines: list[str], dockerfile: str) -> Iterator[Annotation]:
    """The instruction that failed, with the last thing that the builder says of it."""
    said = next((match["said"] for line in reversed(lines) if (match := _SOLVED.match(line))), "")
    for line in lines:
        if match := _DOCKERFILE.match(line):
            yield Annotation(dockerfile, int(match["line"]), said or "this instruction failed")
        elif match := _UNREAD.search(line):
            yield Annotation(dockerfile, int(match["line"]), match["said"])


def _of_tools(lines: list[str]) -> Iterator[Annotation]:
    test, last, waiting = (
        "",
        "",
        [],
    )  # the test that failed, pytest's last `E`, go's lines without their package
    for line in lines:
        if match := _PYTEST_SAID.match(line):
            last = last or match["said"]
        elif match := _PYTEST.match(line):
            yield Annotation(match["path"], int(match["line"]), last or match["said"])
            last = ""
        elif match := _TSC.match(line):
            yield Annotation(
                match["path"], int(match["line"] or match["line2"]), match["said"], _level(match["level"])
            )
        elif match := _GO.match(line):
            waiting.append(Annotation(match["path"], int(match["line"]), match["said"]))
        elif match := _GO_PACKAGE.match(line):
            package = match["package"].split("/", 3)[3:] if "." in match["package"].split("/")[0] else []
            yield from (
                Annotation(posixpath.join(*package, one.path), one.line, one.message) for one in waiting
            )
            waiting = []
        elif match := _AT.match(line):
            if test and not _NOT_OURS.search(match["path"]):
                yield Annotation(match["path"], int(match["line"]), test)
                test = ""
        elif match := _TEST.match(line):
            test = match["said"]
        elif (match := _COMPILER.match(line)) and match["level"] != "note":
            yield Annotation(match["path"], int(match["line"]), match["said"], _level(match["level"]))


def _level(word: str | None) -> str:
    return WARNING if word == "warning" else FAILURE


def _within(path: str, roots: list[str], context: str) -> str:
    """The path in the repository; empty for one that is outside."""
    if path.startswith("/"):
        root = next((one for one in roots if path.startswith(f"{one}/")), None)
        if root is None:
            return ""
        path = path[len(root) + 1 :]
    whole = posixpath.normpath(posixpath.join(context or ".", path))
    outside = whole.startswith(("..", "/")) or _NOT_OURS.search(whole)
    return "" if outside else whole
