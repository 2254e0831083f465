"""The clock of one process, which jumps while it runs: libfaketime, https://github.com/wolfcw/libfaketime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

_LIBRARIES = "/usr/lib/*/faketime/libfaketimeMT.so.1"


class Clock:
    """What time it is for whoever is started with `environ`. How long something takes stays as it is."""

    HEARD = 1.0  # second until a process knows what its clock shows

    def __init__(self, file: Path) -> None:
        """`file` tells the process how far it is off. Raises FileNotFoundError without the library."""
        self._file = file
        self.off(0)
        library = next(iter(Path("/").glob(_LIBRARIES[1:])), None)
        if library is None:
            raise FileNotFoundError("there is no libfaketime: run tests/machine/install faketime")
        self.environ: Mapping[str, str] = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": f"{self.HEARD:g}",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_RESET": "1",
        }

    def off(self, seconds: int) -> None:
        """Within HEARD it is this far ahead, or behind where that is negative."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.replace(self._file)
