"""What a log says of files and lines, by the tools that printed it."""

from __future__ import annotations

import time

import pytest

from bot.reports.annotations import MOST, Annotation, found

FAIL, WARN = "failure", "warning"
ZERO, NO_PRICE = "ZeroDivisionError", "undefined: price"
OF_NO_FILE = "well at 12:30:45: yes\nhttp://x.test:8080/a.js:1:1: no\n../../etc/passwd.x:1:1: error: x\n"

BUILDKIT = """\
#6 [2/4] WORKDIR /shop
#8 [4/4] RUN npm test
#8 1.234 /shop/src/price.js:12:7: error: no currency
#8 ERROR: process "/bin/sh -c npm test" did not complete successfully: exit code: 1
------
 > [4/4] RUN npm test:
------
Dockerfile:4
--------------------
   2 |     COPY . .
   4 | >>> RUN npm test
--------------------
ERROR: failed to solve: process "/bin/sh -c npm test" did not complete successfully: exit code: 1
"""
PYTEST = """\
    def test_price():
>       assert price() == 2
E       assert 1 == 2
E        +  where 1 = price()

tests/test_price.py:12: AssertionError
/app/shop/price.py:3: ZeroDivisionError
/usr/local/lib/python3.11/site-packages/x.py:9: ValueError
FAILED tests/test_price.py::test_price - assert 1 == 2
"""
GO = """\
--- FAIL: TestPrice (0.00s)
    price_test.go:12: got 1, want 2
FAIL
FAIL\texample.com/acme/shop/pricing\t0.003s
./main.go:7:2: undefined: price
"""
JEST = """\
FAIL src/price.test.ts
  ● price \u203a has its currency

    expect(received).toBe(expected)

      at toBe (node_modules/expect/index.js:1:1)
      at Object.<anonymous> (src/price.test.ts:12:7)
      at helper (src/other.ts:1:1)
"""
TSC = """\
src/a.ts(12,7): error TS2322: Type 'string' is not assignable to type 'number'.
\x1b[96msrc/b.ts\x1b[0m:\x1b[93m3\x1b[0m:\x1b[93m1\x1b[0m - \x1b[91merror\x1b[0m TS1005: ';' expected.
"""
GCC = """\
src/a.c:12:7: warning: unused variable 'x' [-Wunused-variable]
src/a.c:14:2: error: expected ';' before '}' token
src/a.c:14:2: note: to match this
"""
NODE = """\
✖ the price has its currency (3.1ms)
  AssertionError [ERR_ASSERTION]: Expected values
      at TestContext.<anonymous> (file:///app/test/price.test.mjs:9:10)
"""


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (
            BUILDKIT,
            [
                (
                    "Dockerfile", 4,
                    'process "/bin/sh -c npm test" did not complete successfully: exit code: 1', FAIL,
                ),
                ("src/price.js", 12, "no currency", FAIL),
            ],
        ),
        (
            "ERROR: failed to solve: dockerfile parse error on line 2: unknown instruction: FORM\n",
            [("Dockerfile", 2, "unknown instruction: FORM", FAIL)],
        ),
        (
            PYTEST,
            [("tests/test_price.py", 12, "assert 1 == 2", FAIL), ("shop/price.py", 3, ZERO, FAIL)],
        ),
        (GO, [("pricing/price_test.go", 12, "got 1, want 2", FAIL), ("main.go", 7, NO_PRICE, FAIL)]),
        (JEST, [("src/price.test.ts", 12, "price \u203a has its currency", FAIL)]),
        (
            TSC,
            [
                ("src/a.ts", 12, "TS2322: Type 'string' is not assignable to type 'number'.", FAIL),
                ("src/b.ts", 3, "TS1005: ';' expected.", FAIL),
            ],
        ),
        (
            GCC,
            [
                ("src/a.c", 14, "expected ';' before '}' token", FAIL),
                ("src/a.c", 12, "unused variable 'x' [-Wunused-variable]", WARN),
            ],
        ),
        (NODE, [("test/price.test.mjs", 9, "the price has its currency (3.1ms)", FAIL)]),
        (OF_NO_FILE, []),
        ("", []),
    ],
    ids=["buildkit", "parse", "pytest", "go", "jest", "tsc", "gcc", "node", "none", "empty"],
)  # fmt: skip
def test_what_tools_print_is_found_at_its_line(log: str, said: list[tuple[str, int, str, str]]) -> None:
    assert found(log) == [Annotation(*one) for one in said]


def test_paths_are_of_the_repository_where_the_image_is_built_from_a_folder_of_it() -> None:
    log = BUILDKIT + "src/a.c:1:1: error: x\n"

    assert [one.path for one in found(log, "web/Dockerfile", "web")] == [
        "web/Dockerfile",
        "web/src/price.js",
        "web/src/a.c",
    ]


def test_there_are_never_more_than_a_check_run_has_the_worst_first_and_each_once() -> None:
    many = "".join(f"a.c:{line}:1: warning: w\n" * 2 for line in range(1, 500)) + "a.c:999:1: error: e\n"

    told = found(many)

    assert len(told) == MOST
    assert told[0] == Annotation("a.c", 999, "e")
    assert len({one.line for one in told}) == MOST


@pytest.mark.parametrize(
    "line", ["a/" * 900, "a.b" * 700, "(" * 2000, "a:1:" * 500, " at " * 500, "\x1b[" * 900]
)
def test_hostile_lines_take_no_time(line: str) -> None:
    began = time.process_time()
    found(f"{line}\n" * 200)
    assert time.process_time() - began < 5
