"""A line of a log with its colours, alike in Python and in the browser's script."""

from __future__ import annotations

import html
import json
import re
import subprocess

import pytest

from bot.web.pages import colours
from bot.web.pages.render import FOLDER

LINES = {
    "plain <b>": "plain &lt;b&gt;",
    "\x1b[31mred\x1b[0m, not": '<span class="t-c1">red</span>, not',
    "\x1b[1;91mbold\x1b[22m not\x1b[39m": '<span class="t-c1 t-b">bold</span><span class="t-c1"> not</span>',
    "\x1b[30;42mPASS\x1b[49m x": '<span class="t-g2">PASS</span><span class="t-c0"> x</span>',
    "\x1b[7mturned\x1b[27m\x1b[33;7m too": '<span class="t-g7">turned</span><span class="t-g3"> too</span>',
    "\x1b[2;3;4;9mall\x1b[23;24;29m x": '<span class="t-d t-i t-u t-s">all</span><span class="t-d"> x</span>',
    "\x1b[31m<i>\x1b[m&": '<span class="t-c1">&lt;i&gt;</span>&amp;',
    "torn \x1b[3 and \x1b": "torn [3 and ",
    "\x1b[0m": "",
}


@pytest.mark.parametrize(("line", "shown"), LINES.items())
def test_a_line_is_shown_with_its_colours_and_nothing_of_it_is_markup(line: str, shown: str) -> None:
    assert colours.shown(line) == shown


def test_the_script_says_the_same() -> None:
    script = (FOLDER / "static" / "colours.js").as_uri()
    code = (
        f"import({json.dumps(script)}).then(({{pieces, plain}}) => "
        f"console.log(JSON.stringify({json.dumps(list(LINES))}.map((one) => [pieces(one), plain(one)]))))"
    )
    said = subprocess.run(["node", "--input-type=module", "-e", code], capture_output=True, check=True).stdout
    for (pieces, plain), shown in zip(json.loads(said), LINES.values(), strict=True):
        spans = [
            f'<span class="{classes}">{html.escape(text)}</span>' if classes else html.escape(text)
            for text, classes in pieces
        ]
        assert "".join(spans) == shown
        assert plain == html.unescape(re.sub("<[^>]*>", "", shown))
