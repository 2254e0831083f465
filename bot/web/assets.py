"""What pages are shown with, the same for everybody."""

from __future__ import annotations

STATIC = (
    "app.css",
    "icon.svg",
    "page.js",
    "stream.js",
    "log.js",
    "lines.js",
    "colours.js",
    "row.js",
    "output.js",
    "printed.js",
    "shell.js",
    "screen.js",
)
