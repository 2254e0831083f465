"""What a process knows is written nowhere when it crashes."""

from __future__ import annotations

import resource

# Too small for any file, and the one limit that the kernel also heeds where a core dump goes to a program
# (https://github.com/torvalds/linux/blob/master/fs/coredump.c).
_NONE = 1


def none() -> None:
    """No core dumps of this process, nor of those that it starts."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    limit = min(_NONE, hard) if hard != resource.RLIM_INFINITY else _NONE
    resource.setrlimit(resource.RLIMIT_CORE, (limit, limit))
