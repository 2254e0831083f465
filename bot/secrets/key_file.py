"""Files with a random phrase in them, which nobody but their owner reads."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


def make(file: Path) -> None:
    """A random phrase in `file`, there whole or not at all; one that is there stays."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = file.with_name(f"{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        with os.fdopen(descriptor, "w") as output:
            output.write(secrets.token_urlsafe(32) + "\n")
            output.flush()
            os.fsync(output.fileno())
        os.link(draft, file)
    except FileExistsError:
        pass  # another process was first; its phrase is the one
    finally:
        draft.unlink()
