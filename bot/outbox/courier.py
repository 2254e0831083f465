"""The process that brings one message by apprise: `python -m bot.outbox.courier`, the message on stdin.

Apprise blocks, is some 50 MB of memory where it is imported, and talks to whatever an address names: so it
has a process of its own, which ends. Of a repository's channel that reaches the internet only, reads no file
but Python's and the machine's certificates, and starts nothing. Exits 0 if it was taken, 1 if not, 2 if the
address is none.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config.networks import Reachable, parse_reachable
from config.reaching import may_reach

TAKEN, NOT_TAKEN, NO_ADDRESS = range(3)
LONGEST = 60  # seconds
_MEMORY = 768 * 1024 * 1024  # bytes: apprise reads whatever it is answered with into memory
# What speaks to this machine and no other.
_HERE = ("syslog", "dbus", "qt", "kde", "glib", "gnome", "macosx", "windows", "blink1")
_READS = ("/etc/ssl", "/etc/pki", "/usr/share", "/usr/lib", "/etc/mime.types", "/etc/apache2", "/etc/httpd")
_OURS = ("bot", "config", "workers")
_NETWORK = (
    "/etc/hosts",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/nsswitch.conf",
    "/dev/urandom",
    "/dev/null",
)
_STARTS = ("syslog.", "subprocess.", "os.exec", "os.posix_spawn", "os.fork", "os.system", "os.spawn")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def main() -> int:
    """Bring it."""
    signal.alarm(LONGEST)  # also where nobody is left who would end it
    resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY, _MEMORY))
    given = json.loads(sys.stdin.read())
    logging.disable(logging.CRITICAL)  # its lines have addresses, and those have tokens
    if given["guarded"]:
        guard(parse_reachable(given["reachable"]))
    said = None if given.get("only") == "known" else (given["title"], given["body"])
    return bring(given["address"], said, guarded=given["guarded"])


def bring(address: str, said: tuple[str, str] | None, *, guarded: bool) -> int:
    """Say it, a title and a text, by apprise; or nothing, where it is asked whether an address is one."""
    import apprise

    told = apprise.Apprise()
    if not told.add(address):
        return NO_ADDRESS
    # One secret may have several addresses.
    if guarded and any(scheme in _HERE for one in told for scheme in _schemes(one)):
        return NO_ADDRESS
    if said is None:
        return TAKEN
    sent = told.notify(title=said[0], body=said[1], body_format=apprise.NotifyFormat.TEXT)
    return TAKEN if sent else NOT_TAKEN


def _schemes(service: Any) -> list[str]:
    said = (service.protocol, service.secure_protocol)
    return [one for some in said if some for one in ([some] if isinstance(some, str) else some)]


def guard(reachable: Sequence[Reachable]) -> None:
    """From now on this process does what a repository's channel may, and no more: nothing undoes that."""
    ours = Path(__file__).resolve().parents[2]  # may be a checkout, with more in it than code
    code = (sys.prefix, sys.base_prefix, *(str(ours / one) for one in _OURS))
    roots = tuple(map(str, {Path(one).resolve() for one in (*code, *_READS)}))

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            _connects(args[0], args[-1], reachable)
        elif event == "open":
            _opens(args, roots)
        elif event.startswith(_STARTS):
            raise PermissionError("a channel of a repository's starts nothing")

    sys.addaudithook(hook)


def _connects(by: Any, address: Any, reachable: Sequence[Reachable]) -> None:
    internet = by.family in (socket.AF_INET, socket.AF_INET6)
    if (
        not internet
        or not isinstance(address, tuple)
        or not may_reach(str(address[0]), int(address[1]), reachable)
    ):
        raise PermissionError("a channel of a repository's reaches the internet only: NOTIFY_REACHABLE")


def _opens(args: tuple[Any, ...], roots: Sequence[str]) -> None:
    path, _, flags = args
    if not isinstance(path, str | bytes) and not hasattr(path, "__fspath__"):
        return  # what is open already
    found = str(Path(path.decode() if isinstance(path, bytes) else path).resolve())
    inside = found in _NETWORK or any(found == one or found.startswith(f"{one}/") for one in roots)
    if not inside or flags & _WRITES:
        raise PermissionError("a channel of a repository's opens no files")


if __name__ == "__main__":
    sys.exit(main())
