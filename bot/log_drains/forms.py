"""Pure: lines in the forms that drains take: JSON lines, OTLP's JSON, syslog's messages."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from bot.store.outputs import Kept, Said

_BILLION = 1_000_000_000
_USER = 1 << 3  # RFC 5424, 6.2.1: a program's own messages
_WARNING, _INFORMATIONAL = 4, 6
# https://opentelemetry.io/docs/specs/otel/logs/data-model/#field-severitynumber
NOTED = 13, "WARN"  # of a line of ours
SCOPE, PLACE = "blacktree", "blacktree.place"
_DATAGRAM = 8192  # bytes: RFC 5426, 3.2 wants 2,048 to be taken, and lets a message be cut at its end


@dataclass(frozen=True)
class Source:
    """Whose lines they are."""

    repository: str
    environment: str


def missing(lines: int, size: int, at: int) -> Kept:
    """A line of ours in the place of those that were left out; 0 `lines` where nobody has counted them."""
    many = f"{lines:,} lines" if lines else "lines"
    told = f"[{many} ({size:,} bytes) are missing here: this log drain was too far behind]"
    return Kept(0, Said(at, told, "blacktree", "blacktree", "", note=True))


def json_lines(source: Source, lines: Sequence[Kept]) -> bytes:
    """As the API has them, and whose they are."""
    whose = {"repository": source.repository, "environment": source.environment}
    return b"".join(
        json.dumps(
            {
                "at": _time(one.said.at),
                "text": one.said.text,
                **whose,
                "process": one.said.process,
                "release": one.said.release,
                "name": one.said.name,
                "container": one.said.container[:12],
                "note": one.said.note,
                "place": one.place,
            },
            ensure_ascii=False,
        ).encode(errors="replace")
        + b"\n"
        for one in lines
    )


def otlp(source: Source, lines: Sequence[Kept], at: int) -> bytes:
    """An ExportLogsServiceRequest, seen `at`: a resource for each container.

    https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding: 64-bit integers are texts.
    """
    told = [
        {
            "resource": {"attributes": _attributes(resource(source, theirs[0].said))},
            "scopeLogs": [{"scope": {"name": SCOPE}, "logRecords": [_record(one, at) for one in theirs]}],
        }
        for theirs in by_container(lines)
    ]
    return json.dumps({"resourceLogs": told}, ensure_ascii=False).encode(errors="replace")


def by_container(lines: Sequence[Kept]) -> list[list[Kept]]:
    """Each container's lines, in their order."""
    found: dict[tuple[str, str, int | None, str], list[Kept]] = {}
    for one in lines:
        said = one.said
        found.setdefault((said.process, said.name, said.release, said.container), []).append(one)
    return list(found.values())


def resource(source: Source, said: Said) -> dict[str, str]:
    """https://opentelemetry.io/docs/specs/semconv/resource/"""
    known = {
        "service.namespace": source.repository,
        "service.name": said.process,
        "service.version": "" if said.release is None else str(said.release),
        "deployment.environment.name": source.environment,
        "container.id": said.container,
        "container.name": said.name,
    }
    return {key: value for key, value in known.items() if value}


def _attributes(known: Mapping[str, str]) -> list[dict[str, object]]:
    return [{"key": key, "value": {"stringValue": value}} for key, value in known.items()]


def _record(one: Kept, at: int) -> dict[str, object]:
    level = dict(zip(("severityNumber", "severityText"), NOTED, strict=True)) if one.said.note else {}
    return {
        "timeUnixNano": str(one.said.at),
        "observedTimeUnixNano": str(at),
        **level,
        "body": {"stringValue": one.said.text},
        "attributes": [{"key": PLACE, "value": {"intValue": str(one.place)}}],
    }


def syslog(source: Source, lines: Iterable[Kept]) -> list[bytes]:
    """Messages of RFC 5424, one for each line."""
    return [_message(source, one) for one in lines]


def _message(source: Source, one: Kept) -> bytes:
    said = one.said
    level = _WARNING if said.note else _INFORMATIONAL
    owner, _, repository = source.repository.partition("/")
    host = _word(f"{source.environment}.{repository}.{owner}", 255)
    release = "-" if said.release is None else str(said.release)
    head = " ".join(
        [
            f"<{_USER + level}>1",
            _time(said.at),
            host,
            _word(said.process, 48),
            _word(said.container[:12], 128),
            release,
            _data(source, one),
        ]
    )
    text = said.text.encode(errors="replace")
    # RFC 5424, 6.4: what is UTF-8 begins with its mark.
    return head.encode("ascii", "replace") + b" \xef\xbb\xbf" + text


def _data(source: Source, one: Kept) -> str:
    """Structured data, under the number that is nobody's (RFC 5612)."""
    told = {
        "repository": source.repository,
        "environment": source.environment,
        "name": one.said.name,
        "place": str(one.place),
    }
    values = " ".join(f'{key}="{_escaped(value)}"' for key, value in told.items())
    return f"[blacktree@32473 {values}]"


def _escaped(value: str) -> str:
    """RFC 5424, 6.3.3."""
    return "".join(f"\\{one}" if one in '"\\]' else one for one in value)


def _word(text: str, most: int) -> str:
    """RFC 5424, 6: printable ASCII without spaces."""
    return "".join(one if "!" <= one <= "~" else "_" for one in text)[:most] or "-"


def counted(message: bytes) -> bytes:
    """RFC 6587, 3.4.1 and RFC 5425, 4.3: its length goes before it."""
    return b"%d %s" % (len(message), message)


def datagram(message: bytes) -> bytes:
    """RFC 5426: whole, or without its end, which is no half of a character."""
    if len(message) <= _DATAGRAM:
        return message
    return message[:_DATAGRAM].decode(errors="ignore").encode()


def _time(at: int) -> str:
    """Nanoseconds since 1970 as RFC 3339 with microseconds, which both JSON's readers and syslog's take."""
    seconds, rest = divmod(at, _BILLION)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")
