"""The kinds of values that an instance's settings may have: put right where only one thing can be meant."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, SecretStr

from config.fields import SIZE, Spelled, host_template
from config.hosts import owners
from config.networks import address_range, parse_reachable
from config.pem import private_key
from config.registries import parse_auths

_NAMED = r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?"
_HOST = rf"({_NAMED}|\[[0-9A-Fa-f:]+\])"
_URL = re.compile(rf"(?i:https?)://{_HOST}(:[0-9]{{1,5}})?(/[!-~]*)?")
_LOGIN = re.compile(r"//[^/@]*@")
_PORTED = re.compile(rf"{_HOST}:[0-9]{{1,5}}")
_REGISTRY = re.compile(
    r"(\[[0-9a-f:]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(:[0-9]{1,5})?(/[a-z0-9][a-z0-9._-]*)*"
)
_DOMAIN_PARTS = ("environment", "repository", "owner", "branch", "pr")


def one_of(url: str, *schemes: str) -> str:
    """The URL, if it has one of the schemes. Raises ValueError, which does not quote it."""
    if "://" not in url or url.partition("://")[0].lower() not in schemes:
        raise ValueError(f"must start with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return url


def web_address(url: str) -> str:
    if not _URL.fullmatch(one_of(url, "https", "http")):
        raise ValueError("must be a URL such as https://deploy.example.com")
    return url.rstrip("/")


def _queue(url: str) -> str:
    return one_of(url, "amqp", "amqps", "memory")


def _optional_queue(url: str) -> str:
    return url and one_of(url, "amqp", "amqps")


def _database(url: str) -> str:
    return url and one_of(url, "postgresql", "postgres", "sqlite")


def _public(url: str) -> str:
    return url and web_address(url)


def _github(url: str) -> str:
    """Its pages' address stands for its API's where everybody knows that."""
    address = web_address(url)
    return (
        "https://api.github.com"
        if address.lower() in ("https://github.com", "https://www.github.com")
        else address
    )


def _proxy(value: str) -> str:
    if value in ("caddy", "none"):
        return value
    if not value.startswith("unix://"):
        web_address(_LOGIN.sub("//", value, count=1))
    return value.rstrip("/")


def registry_prefix(text: str) -> str:
    """As images are named: in small letters, without https:// and a slash at the end."""
    prefix = text.strip().lower().removeprefix("https://").rstrip("/")
    if prefix and not _REGISTRY.fullmatch(prefix):
        raise ValueError("must be a prefix of images' names, such as ghcr.io/acme")
    return prefix


def _registry_prefixes(text: str) -> str:
    return ",".join(filter(None, map(registry_prefix, text.split(","))))


def _domain(template: str) -> str:
    return template and host_template(template, _DOMAIN_PARTS)


def _host_name(name: str) -> str:
    return name and host_template(name, ())


def _listening(host: str) -> str:
    """Without the brackets that URLs have round IPv6 addresses."""
    alone = host[1:-1] if host.startswith("[") and host.endswith("]") and ":" in host else host
    if not re.fullmatch(rf"{_NAMED}|(?=.*:.*:)[0-9A-Fa-f:.]+", alone):
        raise ValueError("must be an address alone, such as 0.0.0.0; the port is a setting of its own")
    return alone


def _bind(host: str) -> str:
    return host and _listening(host)


def _ip(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text.strip()))
    except ValueError:
        raise ValueError("must be an IP address of this machine, such as 10.0.0.7") from None


def _ported(text: str) -> str:
    if text and not _PORTED.fullmatch(text):
        raise ValueError("must be HOST:PORT, such as bot:8000")
    return text


def _network_range(text: str) -> str:
    return str(address_range(text))


def _reachable(text: str) -> str:
    parse_reachable(text)
    return text


def _mail(text: str) -> str:
    if text and not re.fullmatch(r"[!-?A-~]+@[A-Za-z0-9.-]+", text):
        raise ValueError("must be a mail address, such as ops@example.com")
    return text


def _ports(value: str) -> str:
    first, _, last = value.partition("-")
    if not (first.isdecimal() and last.isdecimal() and 0 < int(first) <= int(last) <= 65535):
        raise ValueError("must be FIRST-LAST, two ports from 1 to 65535")
    return value


def _optional_ports(value: str) -> str:
    return value and _ports(value)


def _size(text: str) -> str:
    if not SIZE.fullmatch(text):
        raise ValueError("must be a size such as 512m or 20g")
    return text


def _optional_size(text: str) -> str:
    return text and _size(text)


def _absolute(path: Path | None) -> Path | None:
    if path is not None and not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9!_.*'()-]+)*/?")


def _backup_place(place: str) -> str:
    """https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html"""
    if place and not place.startswith("/") and not _BUCKET.fullmatch(place):
        raise ValueError("must be a folder's absolute path, or s3://BUCKET/PREFIX")
    return place.rstrip("/") if place.strip("/") else place


def _expanded(path: Path) -> Path:
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise ValueError("has a ~ of somebody without a home folder here: write the whole path") from None


def _domain_owners(value: str) -> str:
    owners(value)
    return value


def _repositories(value: str) -> str:
    for part in filter(None, map(str.strip, value.split(","))):
        owner, _, name = part.partition("/")
        if not owner or not name or "/" in name:
            raise ValueError(f"{part}: must be OWNER/NAME, such as acme/*")
    return value


def _accounts(value: str) -> str:
    for part in filter(None, map(str.strip, value.split(","))):
        if not re.fullmatch(r"[A-Za-z0-9](?:[A-Za-z0-9_-]{0,98}[A-Za-z0-9])?", part):
            raise ValueError(f"{part}: must be a name at GitHub, such as octocat, without @")
    return value


def _key(value: SecretStr) -> SecretStr:
    return SecretStr(private_key(value.get_secret_value()))


def _logins(value: SecretStr) -> SecretStr:
    parse_auths(value.get_secret_value())
    return value


_NAME = "must have letters, digits and . _ - only, and 64 characters at most"
Seconds = Annotated[float, Field(gt=0)]
Word = Annotated[str, Spelled(r"[A-Za-z0-9_.-]{1,64}", _NAME)]
Words = Annotated[
    str,
    Spelled(
        r"\s*[A-Za-z0-9_.*-]+(\s*,\s*[A-Za-z0-9_.*-]+)*\s*",
        "must be words by commas, such as production, *, preview",
    ),
]
Labels = Annotated[
    str,
    Spelled(
        r"(\s*[a-z0-9][a-z0-9_.-]{0,30}\s*(,\s*[a-z0-9][a-z0-9_.-]{0,30}\s*)*)?",
        "must be labels by commas, such as gpu, big: small letters, digits and . _ -",
    ),
]
OptionalWord = Annotated[str, Spelled(r"[A-Za-z0-9_.-]{0,64}", _NAME)]
Queue = Annotated[str, AfterValidator(_queue)]
OptionalQueue = Annotated[str, AfterValidator(_optional_queue)]
Database = Annotated[str, AfterValidator(_database)]
PublicUrl = Annotated[str, AfterValidator(_public)]
GitHubUrl = Annotated[str, AfterValidator(_github)]
ProxyKind = Annotated[str, AfterValidator(_proxy)]
RegistryPrefix = Annotated[str, AfterValidator(registry_prefix)]
RegistryPrefixes = Annotated[str, AfterValidator(_registry_prefixes)]
DomainTemplate = Annotated[str, AfterValidator(_domain)]
HostName = Annotated[str, AfterValidator(_host_name)]
Listening = Annotated[str, AfterValidator(_listening)]
Bind = Annotated[str, AfterValidator(_bind)]
IPAddress = Annotated[str, AfterValidator(_ip)]
NetworkRange = Annotated[str, AfterValidator(_network_range)]
Reachable = Annotated[str, AfterValidator(_reachable)]
HostPort = Annotated[str, AfterValidator(_ported)]
Mail = Annotated[str, AfterValidator(_mail)]
Ports = Annotated[str, AfterValidator(_ports)]
OptionalPorts = Annotated[str, AfterValidator(_optional_ports)]
Size = Annotated[str, AfterValidator(_size)]
OptionalSize = Annotated[str, AfterValidator(_optional_size)]
BackupPlace = Annotated[str, AfterValidator(_backup_place)]
AbsolutePath = Annotated[Path, AfterValidator(_absolute)]
Folder = Annotated[Path, AfterValidator(_expanded)]
DomainOwners = Annotated[str, AfterValidator(_domain_owners)]
Repositories = Annotated[str, AfterValidator(_repositories)]
Accounts = Annotated[str, AfterValidator(_accounts)]
PrivateKey = Annotated[SecretStr, AfterValidator(_key)]
Logins = Annotated[SecretStr, AfterValidator(_logins)]
