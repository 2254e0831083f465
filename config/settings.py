"""The instance's settings: environment (prefix `BLACKTREE_`) over a TOML file over defaults.

The environment wins over the file. Every name may end in `_FILE` in the environment: its value is then
read from that file, without the newline at its end, which is how Docker and systemd hand out secrets.
"""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from config.errors import ConfigError, nearest, sentences
from config.fields import SIZE
from config.registries import Login, parse_auths, split

PREFIX = "BLACKTREE_"
# Names that are read before the model is: where the TOML file is.
_BOOTSTRAP = {"CONFIG"}
DEFAULT_FILES = (Path("blacktree.toml"), Path("/etc/blacktree/blacktree.toml"))

Seconds = Annotated[float, Field(gt=0)]


class Settings(BaseModel):
    """Everything that can be set for one process of Blacktree."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True)

    database_url: str = Field(
        "", repr=False, description="postgresql://… or sqlite:///PATH; SQLite in DATA_DIR if empty"
    )
    queue_url: str = Field(
        "memory://", repr=False, description="amqp://… or amqps://… (RabbitMQ), or memory:// in `up`"
    )
    queue_prefix: str = Field("blacktree", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="of queue names")
    data_dir: Path = Field(Path("~/.local/share/blacktree"), description="logs, mirrors, SQLite, checkouts")

    host: str = Field("127.0.0.1", description="the address that the bot listens on")
    port: int = Field(8000, ge=0, le=65535, description="its TCP port; 0 takes a free one")
    public_url: str = Field("", description="how people and GitHub reach the bot; for links in statuses")

    github_api_url: str = Field("https://api.github.com", description="…/api/v3 for GitHub Enterprise")
    github_webhook_secret: SecretStr | None = Field(None, description="of the webhook; /setup's if empty")
    github_webhook_secret_previous: SecretStr | None = Field(
        None, description="one that is still taken beside it, while you change it at GitHub"
    )
    github_token: SecretStr | None = Field(None, description="a token, instead of an App")
    github_app_id: int | None = Field(None, description="the App's id; /setup's App if empty")
    github_app_private_key: SecretStr | None = Field(None, description="the App's private key (PEM)")

    registry: str = Field("", description="prefix of images, such as ghcr.io/acme; empty keeps them local")
    registry_username: str = Field("", description="login at that registry")
    registry_password: SecretStr | None = Field(None, description="its password or token")
    registry_auths: SecretStr | None = Field(
        None, description="logins of further registries, as Docker's config.json has them"
    )
    push_registries: str = Field(
        "", description="prefixes, by commas, that repositories may push to besides REGISTRY"
    )
    aws_profile: str = Field("", description="profile for ECR; the usual chain of credentials if empty")
    aws_access_key_id: str = Field("", description="static keys for ECR, instead of a role or a profile")
    aws_secret_access_key: SecretStr | None = Field(None, description="of AWS_ACCESS_KEY_ID")
    ecr_create: bool = Field(False, description="whether a repository that is missing in ECR is made")
    ecr_scan: bool = Field(True, description="whether one that is made scans what is pushed")
    ecr_immutable: bool = Field(False, description="whether one that is made lets no tag be moved")
    ecr_untagged_days: int = Field(14, ge=0, description="days that one keeps untagged images; 0 for ever")

    proxy: str = Field(
        "caddy",
        description="caddy (a child process), the URL of a Caddy's admin API, or none (the container's port)",
    )
    proxy_host: str = Field("", description="host name in environments' URLs; PUBLIC_URL's if empty")
    proxy_bind: str = Field("", description="address that the proxy listens on; all if empty")
    proxy_ports: str = Field("20000-20999", description="ports for environments where DOMAIN is not set")
    proxy_bot: str = Field(
        "", description="HOST:PORT where the proxy reaches the bot, for its pages; HOST and PORT if empty"
    )
    proxy_files: Path | None = Field(
        None,
        description="folder that the bot and a Caddy at a URL share, at one path; without it switches lose "
        "requests",
    )
    proxy_http_port: int = Field(80, ge=1, le=65535, description="port of host names without TLS")
    proxy_https_port: int = Field(443, ge=1, le=65535, description="port of host names with TLS")
    proxy_tls: Literal["acme", "internal", "off"] = Field(
        "acme", description="certificates of host names: Let's Encrypt's, Caddy's own authority's, or none"
    )
    proxy_on_demand: bool = Field(
        False, description="whether a certificate is fetched at the first visit, if the bot knows the name"
    )
    acme_email: str = Field("", description="told to the certificate authority, which warns there")
    acme_directory: str = Field("", description="URL of another ACME authority than Let's Encrypt")
    domain: str = Field(
        "",
        description="template of host names, such as {environment}.{repository}.example.com; HTTPS by Caddy",
    )

    worker_name: str = Field("", pattern=r"^[A-Za-z0-9_.-]{0,64}$", description="host name if empty")
    worker_pool: str = Field("default", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="whose jobs it takes")
    worker_slots: int = Field(2, ge=1, le=64, description="jobs at once")
    worker_address: str = Field("127.0.0.1", description="IP address where the proxy reaches its containers")

    build_memory: str = Field("", description="of one build, such as 4g; ¾ of the machine's if empty")
    build_cpus: float = Field(0, ge=0, description="processors that one build may use; all if 0")
    disk_free: str = Field("5g", description="free space that a worker needs to take a job")
    cache_budget: str = Field("20g", description="of the layer cache, least recently used goes first")
    image_budget: str = Field("30g", description="of images that no environment needs, likewise")
    mirror_budget: str = Field("10g", description="of the mirrors of git repositories, likewise")
    log_budget: str = Field("32m", description="that the log of one attempt keeps: its start and its end")

    fork_pool: str = Field(
        "", pattern=r"^[A-Za-z0-9_.-]{0,64}$", description="pool that forks build in; the usual one if empty"
    )
    trusted_repositories: str = Field(
        "",
        description="OWNER/NAME patterns, by commas, of who may have host mounts, privileged, host network",
    )

    secret_key: SecretStr | None = Field(
        None, description="encrypts secrets in the store; DATA_DIR/secret.key is made if empty"
    )
    api_token: SecretStr | None = Field(None, description="bearer token for /api; needed off this machine")

    lease: Seconds = Field(60, description="seconds without a heartbeat after which an attempt is lost")
    job_timeout: Seconds = Field(3600, description="seconds that one attempt may last")
    attempts: int = Field(3, ge=1, le=20, description="tries at a job when the fault is ours")
    retention: float = Field(30, gt=3, description="days that logs, deliveries and sent reports are kept")
    drain: Seconds = Field(30, description="seconds that an old release serves on after the switch")
    shutdown: Seconds = Field(300, description="seconds that running attempts get to end after SIGTERM")
    log_format: Literal["text", "json"] = Field("text", description="of the process's own log")

    @field_validator("queue_url")
    @classmethod
    def _known_queue(cls, url: str) -> str:
        return _one_of(url, "amqp", "amqps", "memory")

    @field_validator("database_url")
    @classmethod
    def _known_database(cls, url: str) -> str:
        return url and _one_of(url, "postgresql", "postgres", "sqlite")

    @field_validator("github_api_url", "public_url")
    @classmethod
    def _web_address(cls, url: str) -> str:
        return url and _one_of(url, "https", "http").rstrip("/")

    @field_validator("proxy")
    @classmethod
    def _known_proxy(cls, value: str) -> str:
        return value if value in ("caddy", "none") else _one_of(value, "http", "https").rstrip("/")

    @field_validator("acme_directory")
    @classmethod
    def _directory(cls, url: str) -> str:
        return url and _one_of(url, "https", "http")

    @field_validator("proxy_files")
    @classmethod
    def _absolute(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_absolute():
            raise ValueError("must be an absolute path")
        return path

    @field_validator("proxy_ports")
    @classmethod
    def _port_range(cls, value: str) -> str:
        first, _, last = value.partition("-")
        if not (first.isdigit() and last.isdigit() and 0 < int(first) <= int(last) <= 65535):
            raise ValueError("must be FIRST-LAST, two ports from 1 to 65535")
        return value

    @field_validator(
        "build_memory", "disk_free", "cache_budget", "image_budget", "mirror_budget", "log_budget"
    )
    @classmethod
    def _size(cls, text: str, info: ValidationInfo) -> str:
        optional = info.field_name == "build_memory"
        if not (SIZE.fullmatch(text) or (optional and not text)):
            raise ValueError("must be a size such as 512m or 20g")
        return text

    @field_validator("registry_auths")
    @classmethod
    def _logins(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            parse_auths(value.get_secret_value())
        return value

    @field_validator("data_dir")
    @classmethod
    def _expanded(cls, path: Path) -> Path:
        return path.expanduser().absolute()

    @field_validator("trusted_repositories")
    @classmethod
    def _owner_and_name(cls, value: str) -> str:
        for part in filter(None, map(str.strip, value.split(","))):
            owner, _, name = part.partition("/")
            if not owner or not name or "/" in name:
                raise ValueError(f"{part}: must be OWNER/NAME, such as acme/*")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Settings:
        if (self.github_app_id is None) != (self.github_app_private_key is None):
            raise ValueError("GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY go together: set both or neither")
        if self.github_token and self.github_app_id:
            raise ValueError("set GITHUB_TOKEN or GITHUB_APP_ID, not both")
        if bool(self.registry_username) != bool(self.registry_password):
            raise ValueError("REGISTRY_USERNAME and REGISTRY_PASSWORD go together: set both or neither")
        if bool(self.aws_access_key_id) != bool(self.aws_secret_access_key):
            raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together: set both or neither")
        return self

    @property
    def store_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'blacktree.db'}"

    @property
    def worker(self) -> str:
        return self.worker_name or socket.gethostname()

    @property
    def base_url(self) -> str:
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def environment_host(self) -> str:
        return self.proxy_host or urlsplit(self.base_url).hostname or "localhost"

    @property
    def registry_logins(self) -> list[Login]:
        """One for each host that has one; REGISTRY's own wins over the further ones."""
        logins = parse_auths(self.registry_auths.get_secret_value()) if self.registry_auths else []
        if self.registry_password:
            password = self.registry_password.get_secret_value()
            logins.append(Login(split(self.registry)[0], self.registry_username, password))
        return list({login.host: login for login in logins}.values())

    @property
    def registries(self) -> list[str]:
        """The prefixes that images may be pushed to: REGISTRY, then the further ones."""
        prefixes = (part.strip().rstrip("/") for part in (self.registry, *self.push_registries.split(",")))
        return list(dict.fromkeys(filter(None, prefixes)))

    def trusts(self, full_name: str) -> bool:
        """Whether a repository may ask for host mounts, privileged mode and the host's network."""
        patterns = (part.strip().casefold() for part in self.trusted_repositories.split(","))
        return any(fnmatchcase(full_name.casefold(), pattern) for pattern in patterns if pattern)

    @property
    def github_url(self) -> str:
        """Where git is cloned from and pages are: the API's host without its API part."""
        if self.github_api_url == "https://api.github.com":
            return "https://github.com"
        return self.github_api_url.removesuffix("/api/v3")


def _one_of(url: str, *schemes: str) -> str:
    if urlsplit(url).scheme not in schemes or "://" not in url:
        raise ValueError(f"must start with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    return url


def load(environ: Mapping[str, str] = os.environ, file: Path | None = None) -> Settings:
    """The settings from `environ` and from `file` (or `BLACKTREE_CONFIG`, or a default place).

    Raises ConfigError with one line for each setting that is unknown or bad.
    """
    path = file or (Path(environ[PREFIX + "CONFIG"]) if environ.get(PREFIX + "CONFIG") else None)
    from_file = _from_file(path or next((place for place in DEFAULT_FILES if place.is_file()), None))
    from_environment, places = _from_environment(environ)
    places = {name: f"{path or 'the TOML file'}: {name}" for name in from_file} | places
    try:
        return Settings(**{**from_file, **from_environment})
    except ValidationError as error:
        raise ConfigError("\n".join(_complaints(error, places))) from None


def _from_file(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML: {error}") from None


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    values: dict[str, str] = {}
    places: dict[str, str] = {}
    for variable, given in environ.items():
        key = variable.removeprefix(PREFIX)
        if not variable.startswith(PREFIX) or key in _BOOTSTRAP or key.startswith("TEST_"):
            continue
        name = key.removesuffix("_FILE").lower()
        places[name] = variable
        if not given:
            continue
        if name in values:
            raise ConfigError(
                f"{PREFIX}{name.upper()} and {PREFIX}{name.upper()}_FILE are both set: remove one"
            )
        values[name] = _read(variable, given) if key.endswith("_FILE") else given
    return values, places


def _read(variable: str, path: str) -> str:
    try:
        return Path(path).read_text().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{variable}: {path} cannot be read: {error}") from None


def _complaints(error: ValidationError, places: Mapping[str, str]) -> list[str]:
    lines = []
    for where, sentence in sentences(error):
        name = str(where[0]) if where else ""
        place = places.get(name, PREFIX + name.upper() if name else "settings")
        unknown = name and name not in Settings.model_fields
        wrong = f"there is no such setting.{nearest(name, Settings.model_fields)}" if unknown else sentence
        lines.append(f"{place}: {wrong}")
    return lines
