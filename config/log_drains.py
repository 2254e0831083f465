"""Where what containers print goes besides: the address of a log drain, and what a file says of one."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from config.fields import EnvName, HeaderName
from config.habits import Mapped
from config.networks import netloc
from config.parts import Part

# The port of each where none is said: RFC 5425, 6587 (and what rsyslog and syslog-ng take), 5426.
_PORTS = {
    "https": 443, "http": 80, "otlp+https": 443, "otlp+http": 80,
    "otlp-protobuf+https": 443, "otlp-protobuf+http": 80,
    "syslog+tls": 6514, "syslog+tcp": 514, "syslog+udp": 514,
}  # fmt: skip
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]+\]")
_OTLP_PATH = "/v1/logs"  # https://opentelemetry.io/docs/specs/otlp/#otlphttp-request
_FORMS = (
    "https://HOST/PATH, otlp+https://HOST (its JSON), otlp-protobuf+https://HOST, syslog+tls://HOST, "
    "syslog+tcp://HOST or syslog+udp://HOST"
)
_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}")


@dataclass(frozen=True)
class Address:
    """A drain's address, taken apart."""

    form: Literal["json", "otlp", "otlp-protobuf", "syslog"]
    transport: Literal["http", "https", "tls", "tcp", "udp"]
    host: str
    port: int
    path: str = "/"  # with its query

    @property
    def encrypted(self) -> bool:
        return self.transport in ("https", "tls")

    @property
    def url(self) -> str:
        """Of those over HTTP."""
        return f"{self.transport}://{netloc(self.host, self.port)}{self.path}"

    @property
    def shown(self) -> str:
        """For people: without its path, which may hold a key."""
        kind = f"{self.form}+{self.transport}" if self.form != "json" else self.transport
        return f"{kind}://{netloc(self.host, self.port)}"


def address(text: str) -> Address:
    """Raises ValueError, which does not quote it."""
    scheme, _, rest = text.partition("://")
    scheme = scheme.lower()
    if scheme not in _PORTS or not rest:
        raise ValueError(f"must be {_FORMS}")
    if not all("!" <= one <= "~" for one in rest) or "#" in rest:
        raise ValueError("must be a URL without spaces and #")
    form, transport = scheme.split("+") if "+" in scheme else ("json", scheme)
    try:
        parts = urlsplit(f"//{rest}")
        port = parts.port or _PORTS[scheme]
    except ValueError:
        raise ValueError(f"has a port that is none: must be {_FORMS}") from None
    if "@" in parts.netloc:
        raise ValueError("must have no login in it: a header may hold one")
    host = parts.netloc.removesuffix(f":{parts.port}") if parts.port else parts.netloc
    if not _HOST.fullmatch(host):
        raise ValueError(f"has no host name: must be {_FORMS}")
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    if form == "syslog" and path not in ("", "/"):
        raise ValueError("must be HOST:PORT alone after syslog+…://")
    usual = _OTLP_PATH if form.startswith("otlp") and parts.path in ("", "/") else ""
    path = usual + path.removeprefix("/") if usual else path or "/"
    return Address(form, transport, host.strip("[]").lower(), port, path)  # type: ignore[arg-type]


def _checked(text: str) -> str:
    address(text)
    return text


def _place(text: str) -> str:
    return text and _checked(text)


def headers(text: str) -> dict[str, str]:
    """Of a JSON object with texts. Raises ValueError, which does not quote it."""
    try:
        told = json.loads(text)
    except ValueError:
        told = None
    if not isinstance(told, dict) or not all(
        _HEADER.fullmatch(name) and isinstance(value, str) and value.isprintable() and value.isascii()
        for name, value in told.items()
    ):
        raise ValueError('must be a JSON object of headers, such as {"Authorization": "Bearer …"}')
    return told


def _headers(value: SecretStr) -> SecretStr:
    headers(value.get_secret_value())
    return value


DrainPlace = Annotated[str, AfterValidator(_place)]
DrainHeaders = Annotated[SecretStr, AfterValidator(_headers)]


class LogDrain(Part):
    """Where it goes; its address alone will do."""

    to: Annotated[str, Field(max_length=1024), AfterValidator(_checked)] = Field(description=_FORMS)
    headers: Mapped[HeaderName, EnvName] = Field(
        {}, max_length=8, description="of its requests, and the secret with each one's value"
    )
    gzip: bool = Field(True, description="whether requests are compressed")

    @model_validator(mode="after")
    def _fits(self) -> LogDrain:
        place = address(self.to)
        if self.headers and place.form == "syslog":
            raise ValueError("syslog has no headers: leave them out")
        if self.headers and not place.encrypted:
            raise ValueError("secrets do not travel in the clear: write https:// or leave `headers` out")
        return self


class Logs(Part):
    """What becomes of what containers print."""

    drain: LogDrain | None = Field(None, description="where it goes too, besides the bot's own store")

    @field_validator("drain", mode="before")
    @classmethod
    def _short(cls, value: Any) -> Any:
        return {"to": value} if isinstance(value, str) else value
