"""The end of what a container printed, as the engine keeps it, with the engine's own time of each line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import docker

from workers.engine.plain import asked

_MOST = 512 * 1024  # bytes of one answer
_HEAD = 8  # bytes before each piece: which stream, three zeros, its length
_PIECE = 16 * 1024  # bytes: the engine breaks a longer line. daemon/logger/copier.go
_TIME = 30  # 2026-11-28T08:43:38.123456789Z
_PATIENCE = 20.0  # seconds
_BILLION = 1_000_000_000


@dataclass(frozen=True)
class PrintedLine:
    """A line, and when the engine took it: nanoseconds since 1970."""

    at: int
    text: str


def ask(client: docker.DockerClient, container: str, since: int, lines: int) -> list[PrintedLine]:
    """Of the last `lines` lines (0: all) those from `since` on, oldest first, 512 KiB at most.

    It blocks. Raises APIError. https://docs.docker.com/reference/api/engine/version/v1.41/
    """
    wanted = {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": str(lines or "all")}
    if since:
        wanted["since"] = f"{since // _BILLION}.{since % _BILLION:09d}"
    with asked(client, f"/containers/{container}/logs", wanted, _PATIENCE) as answer:
        return read(answer.raw.read(_MOST))


def read(answer: bytes) -> list[PrintedLine]:
    """Pure: the whole lines of an answer, which may have been cut off anywhere.

    Pieces of a line may have lines of the other stream between them. One line that is longer than an answer
    is told as far as it goes: nobody would get beyond it.
    """
    found: list[PrintedLine] = []
    open_: dict[int, tuple[int, list[bytes]]] = {}  # by stream: the line whose end has not come yet
    for stream, piece in _pieces(answer):
        at = _nanoseconds(piece[:_TIME])
        begun, parts = open_.pop(stream, (at, []))
        if begun != at:
            parts = []
        parts.append(piece[_TIME + 1 :])
        if piece.endswith(b"\n") or len(parts[-1]) < _PIECE:  # the last one of a container that ended
            found.append(_line(at, parts))
        else:
            open_[stream] = at, parts
    if not found and len(answer) >= _MOST:
        found = [_line(at, parts) for at, parts in open_.values()]
    return found


def _line(at: int, parts: list[bytes]) -> PrintedLine:
    return PrintedLine(at, b"".join(parts).decode(errors="replace").rstrip("\r\n"))


def _pieces(answer: bytes) -> Iterator[tuple[int, bytes]]:
    start = 0
    while len(answer) >= start + _HEAD:
        stream, length = answer[start], int.from_bytes(answer[start + 4 : start + _HEAD], "big")
        start += _HEAD + length
        if start > len(answer):
            return
        yield stream, answer[start - length : start]


def _nanoseconds(time: bytes) -> int:
    """Of a time as the engine writes it, always with nine digits."""
    seconds, _, rest = time.decode("ascii", "replace").partition(".")
    whole = datetime.fromisoformat(seconds).replace(tzinfo=UTC)
    return int(whole.timestamp()) * _BILLION + int(rest.removesuffix("Z"))
