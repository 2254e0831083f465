"""The instance's settings: what can be set, what each means, and what follows from them."""

from __future__ import annotations

import socket
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, model_validator

from config.channels import ChannelsText, Told
from config.channels import parsed as channels
from config.hosts import Rules, owners
from config.kinds import (
    AbsolutePath,
    Accounts,
    BackupPlace,
    Bind,
    Database,
    DomainOwners,
    DomainTemplate,
    Folder,
    GitHubUrl,
    HostName,
    HostPort,
    IPAddress,
    Labels,
    Listening,
    Logins,
    Mail,
    NetworkRange,
    OptionalPorts,
    OptionalQueue,
    OptionalSize,
    OptionalWord,
    Ports,
    PrivateKey,
    ProxyKind,
    PublicUrl,
    Queue,
    Reachable,
    RegistryPrefix,
    RegistryPrefixes,
    Repositories,
    Seconds,
    Size,
    Word,
    Words,
)
from config.log_drains import DrainHeaders, DrainPlace
from config.networks import netloc
from config.pools import Pool, PoolsText, parsed
from config.registries import Login, identity, parse_auths, split


class Settings(BaseModel):
    """Everything that can be set for one process of Blacktree."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, validate_default=True, allow_inf_nan=False
    )

    _sources: dict[str, str] = PrivateAttr(default_factory=dict)

    database_url: Database = Field(
        "", repr=False, description="postgresql://… or sqlite:///PATH; SQLite in DATA_DIR if empty"
    )
    queue_url: Queue = Field(
        "memory://",
        repr=False,
        description="amqp://… or amqps://… (RabbitMQ; nodes of a cluster by commas), or memory:// in `up`",
    )
    queue_ca: AbsolutePath | None = Field(
        None,
        description="file (PEM) with the authority of RabbitMQ's certificate; the system's if empty",
    )
    queue_certificate: AbsolutePath | None = Field(
        None, description="file (PEM) with the certificate that RabbitMQ is shown, if it wants one"
    )
    queue_key: AbsolutePath | None = Field(
        None, description="file (PEM) with its key; QUEUE_CERTIFICATE has it too if empty"
    )
    queue_prefix: Word = Field("blacktree", description="of queue names")
    data_dir: Folder = Field(Path("~/.local/share/blacktree"), description="logs, mirrors, SQLite, checkouts")

    host: Listening = Field("127.0.0.1", description="the address that the bot listens on")
    port: int = Field(8000, ge=0, le=65535, description="its TCP port; 0 takes a free one")
    public_url: PublicUrl = Field(
        "", description="how people and GitHub reach the bot; for links in statuses"
    )

    github_api_url: GitHubUrl = Field("https://api.github.com", description="…/api/v3 for GitHub Enterprise")
    github_webhook_secret: SecretStr | None = Field(None, description="of the webhook; /setup's if empty")
    github_webhook_secret_previous: SecretStr | None = Field(
        None, description="one that is still taken beside it, while you change it at GitHub"
    )
    github_addresses: bool = Field(
        False, description="whether webhooks are taken from the addresses alone that GitHub says are its own"
    )
    github_token: SecretStr | None = Field(None, description="a token, instead of an App")
    github_app_id: int | None = Field(None, description="the App's id; /setup's App if empty")
    github_app_private_key: PrivateKey | None = Field(None, description="the App's private key (PEM)")

    github_client_id: str = Field("", description="of the App, to sign people in; /setup's if empty")
    github_client_secret: SecretStr | None = Field(None, description="likewise its client secret")

    admins: Accounts = Field("", description="who may do everything here: logins at GitHub, by commas")
    organizations: Accounts = Field(
        "",
        description="at GitHub, by commas, whose members may sign in; if empty, who may push to a repository "
        "here or read a private one",
    )

    registry: RegistryPrefix = Field(
        "", description="prefix of images, such as ghcr.io/acme; empty keeps them local"
    )
    registry_username: str = Field("", description="login at that registry")
    registry_password: SecretStr | None = Field(None, description="its password or token")
    registry_pull_username: str = Field("", description="login that deploys use there; the same if empty")
    registry_pull_password: SecretStr | None = Field(
        None, description="its password or token, which only has to read"
    )
    registry_auths: Logins | None = Field(
        None, description="logins of further registries, as Docker's config.json has them"
    )
    push_registries: RegistryPrefixes = Field(
        "", description="prefixes, by commas, that repositories may push to besides REGISTRY"
    )
    former_registries: RegistryPrefixes = Field(
        "", description="prefixes, by commas, that REGISTRY once was: nobody starts from what lies below them"
    )
    shared_images: str = Field(
        "",
        description="names with *, by commas, of images below these prefixes that all builds may start from",
    )
    aws_profile: str = Field("", description="profile for ECR; the usual chain of credentials if empty")
    aws_access_key_id: str = Field("", description="static keys for ECR, instead of a role or a profile")
    aws_secret_access_key: SecretStr | None = Field(None, description="of AWS_ACCESS_KEY_ID")
    ecr_create: bool = Field(False, description="whether a repository that is missing in ECR is made")
    ecr_scan: bool = Field(True, description="whether one that is made scans what is pushed")
    ecr_immutable: bool = Field(False, description="whether one that is made lets no tag be moved")
    ecr_untagged_days: int = Field(14, ge=0, description="days that one keeps untagged images; 0 for ever")

    proxy: ProxyKind = Field(
        "caddy",
        description="caddy (a child process), unix:///PATH or the URL of a Caddy's admin API, or none (the "
        "container's port)",
    )
    proxy_host: HostName = Field("", description="host name in environments' URLs; PUBLIC_URL's if empty")
    proxy_bind: Bind = Field("", description="address that the proxy listens on; all if empty")
    proxy_ports: Ports = Field("20000-20999", description="ports for environments where DOMAIN is not set")
    proxy_bot: HostPort = Field(
        "", description="HOST:PORT where the proxy reaches the bot, for its pages; HOST and PORT if empty"
    )
    proxy_files: AbsolutePath | None = Field(
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
    tcp_ports: OptionalPorts = Field(
        "",
        description="ports, such as 21000-21099, at which the bot passes TCP on to processes that `expose` "
        "one; none if empty",
    )
    acme_email: Mail = Field("", description="told to the certificate authority, which warns there")
    acme_directory: PublicUrl = Field("", description="URL of another ACME authority than Let's Encrypt")
    domain: DomainTemplate = Field(
        "",
        description="template of host names, such as {environment}.{repository}.example.com; HTTPS by Caddy",
    )

    domain_owners: DomainOwners = Field(
        "",
        description="who may have which other host names: SUFFIX=OWNER/NAME, by commas; anybody any if empty",
    )

    worker_name: OptionalWord = Field("", description="host name if empty")
    worker_pool: Word = Field("default", description="whose jobs it takes")
    worker_labels: Labels = Field(
        "", description="what it has that jobs may ask for, by commas, such as gpu; its architecture besides"
    )
    worker_slots: int = Field(2, ge=1, le=64, description="jobs at once")
    worker_credential: SecretStr | None = Field(
        None, description="what a worker over RabbitMQ is known by; `blacktree workers add` makes it"
    )
    worker_address: IPAddress = Field(
        "127.0.0.1", description="IP address where the proxy reaches its containers"
    )

    network_range: NetworkRange = Field(
        "10.207.0.0/16", description="whose addresses the networks of environments get, 32 each as a rule"
    )
    firewall: bool = Field(
        True,
        description="whether a worker keeps containers and builds from private addresses, where it can",
    )
    reachable: Reachable = Field(
        "",
        description="private addresses, by commas, that containers and builds reach besides the internet, "
        "such as 10.0.0.9:5432 or 10.1.0.0/16",
    )

    build_memory: OptionalSize = Field(
        "", description="of one build, such as 4g; ¾ of the machine's if empty"
    )
    build_cpus: float = Field(0, ge=0, description="processors that one build may use; all if 0")
    build_http_proxy: str = Field("", repr=False, description="http_proxy of each build's steps")
    build_https_proxy: str = Field("", repr=False, description="https_proxy of each build's steps")
    build_no_proxy: str = Field("", description="no_proxy of each build's steps")
    disk_free: Size = Field("5g", description="free space that a worker needs to take a job")
    cache_budget: Size = Field("20g", description="of the layer cache, least recently used goes first")
    image_budget: Size = Field("30g", description="of images that no environment needs, likewise")
    mirror_budget: Size = Field("10g", description="of the mirrors of git repositories, likewise")
    log_budget: Size = Field("32m", description="that the log of one attempt keeps: its start and its end")

    output_budget: Size = Field(
        "64m", description="that is kept of what the containers of one environment print: its end"
    )
    output_days: float = Field(7, gt=0, description="days that it is kept")
    log_drain: DrainPlace = Field(
        "",
        repr=False,
        description="where all of it goes too: https://…, otlp+https://…, otlp-protobuf+https://…, "
        "syslog+tls://HOST, syslog+tcp://… or syslog+udp://…; nowhere if empty",
    )
    log_drain_headers: DrainHeaders | None = Field(
        None, description='of its requests, as JSON, such as {"Authorization": "Bearer …"}'
    )
    log_drain_gzip: bool = Field(True, description="whether its requests are compressed")
    log_drain_budget: Size = Field(
        "16m",
        description="of what one environment prints that a log drain may be behind: beyond it the oldest is "
        "left out, and told as missing",
    )

    exec: bool = Field(
        False,
        description="whether who may administrate a repository gets a shell in what it runs",
    )
    exec_idle: Seconds = Field(900, description="seconds without a byte after which a shell is ended")
    exec_longest: Seconds = Field(14400, description="seconds that a shell may last")
    exec_at_once: int = Field(8, ge=0, le=64, description="shells at once on one worker")

    priorities: Words = Field(
        "rollback, production, *, preview, schedule",
        description="what goes first in a pool: environments, rollback, preview, schedule; * is the others'",
    )
    repository_jobs: int = Field(
        0, ge=0, description="jobs of one repository that run at once, in all pools; any number if 0"
    )
    pools: PoolsText = Field(
        "", description="pools whose workers the bot starts and ends, such as builders: processes max=4"
    )
    worker_queue_url: OptionalQueue = Field(
        "", repr=False, description="QUEUE_URL of workers that the bot starts; the bot's own if empty"
    )
    fork_pool: OptionalWord = Field(
        "", description="pool that forks build in; a file's fork_pool or else its pool if empty"
    )
    trusted_repositories: Repositories = Field(
        "",
        description="OWNER/NAME patterns, by commas, of who may have host mounts, privileged, host network, "
        "a fork_pool",
    )

    service_backups: BackupPlace = Field(
        "",
        description="where backups of services lie: a folder that workers share, or s3://BUCKET/PREFIX; none "
        "are taken if empty",
    )
    service_backups_endpoint: PublicUrl = Field(
        "", description="URL of another store than Amazon's that speaks S3"
    )
    service_backups_region: OptionalWord = Field("", description="of the bucket; the worker's own if empty")
    service_backups_key_id: str = Field(
        "", description="access key of the bucket; the worker's own chain of credentials if empty"
    )
    service_backups_secret: SecretStr | None = Field(None, description="of SERVICE_BACKUPS_KEY_ID")
    service_backups_encryption: Literal["AES256", "aws:kms", "none"] = Field(
        "AES256", description="server-side encryption that the bucket is asked for"
    )

    notify: ChannelsText | None = Field(
        None, description="channels that are told what goes wrong: NAME: URL on=EVENTS of=REPOSITORIES, by ;"
    )
    notify_reachable: Reachable = Field(
        "",
        description="private addresses, by commas, that channels and webhooks of repositories reach besides "
        "the internet",
    )

    secret_key: SecretStr | None = Field(
        None, description="encrypts secrets in the store; DATA_DIR/secret.key is made if empty"
    )
    api_token: SecretStr | None = Field(
        None, description="what whoever asks the API has to know; DATA_DIR/api.token is made if empty"
    )
    metrics_token: SecretStr | None = Field(
        None, description="one that reads /metrics and nothing else; the API's token does, too"
    )

    lease: Seconds = Field(60, description="seconds without a heartbeat after which an attempt is lost")
    job_timeout: Seconds = Field(3600, description="seconds that one attempt may last")
    attempts: int = Field(3, ge=1, le=20, description="tries at a job when the fault is ours")
    retention: float = Field(30, gt=3, description="days that logs, deliveries and sent reports are kept")
    audit_retention: float = Field(365, gt=0, description="days that the audit log is kept")
    drain: Seconds = Field(30, description="seconds that an old release serves on after the switch")
    shutdown: Seconds = Field(300, description="seconds that running attempts get to end after SIGTERM")
    log_format: Literal["text", "json"] = Field("text", description="of the process's own log")

    @model_validator(mode="after")
    def _whole(self) -> Settings:
        if (self.github_app_id is None) != (self.github_app_private_key is None):
            raise ValueError("GITHUB_APP_ID and GITHUB_APP_PRIVATE_KEY go together: set both or neither")
        if self.github_token and self.github_app_id:
            raise ValueError("set GITHUB_TOKEN or GITHUB_APP_ID, not both")
        if bool(self.github_client_id) != bool(self.github_client_secret):
            raise ValueError("GITHUB_CLIENT_ID and GITHUB_CLIENT_SECRET go together: set both or neither")
        if bool(self.registry_username) != bool(self.registry_password):
            raise ValueError("REGISTRY_USERNAME and REGISTRY_PASSWORD go together: set both or neither")
        if bool(self.registry_pull_username) != bool(self.registry_pull_password):
            raise ValueError(
                "REGISTRY_PULL_USERNAME and REGISTRY_PULL_PASSWORD go together: set both or neither"
            )
        for outer in self.registries:
            below = f"{identity(outer)}/"
            if inner := next((one for one in self.registries if identity(one).startswith(below)), None):
                raise ValueError(
                    f"PUSH_REGISTRIES: {inner} lies below {outer}, where names could meet: take two prefixes "
                    "of which none lies below the other"
                )
        if bool(self.aws_access_key_id) != bool(self.aws_secret_access_key):
            raise ValueError("AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together: set both or neither")
        if bool(self.service_backups_key_id) != bool(self.service_backups_secret):
            raise ValueError(
                "SERVICE_BACKUPS_KEY_ID and SERVICE_BACKUPS_SECRET go together: set both or neither"
            )
        if self.tcp_ports and _meet(self.tcp_ports, self.proxy_ports):
            raise ValueError(f"TCP_PORTS: {self.tcp_ports} and PROXY_PORTS must have no port in common")
        if (self.queue_ca or self.queue_certificate) and not self.queue_url.startswith("amqps:"):
            raise ValueError("QUEUE_CA and QUEUE_CERTIFICATE are for TLS: set QUEUE_URL to amqps://…")
        if self.queue_key and not self.queue_certificate:
            raise ValueError("QUEUE_KEY is of a certificate: set QUEUE_CERTIFICATE too")
        if self.pools and self.queue_url.startswith("memory"):
            raise ValueError("POOLS: workers of their own need a RabbitMQ: set QUEUE_URL to amqp://…")
        if self.pools and not self.registry:
            raise ValueError("POOLS: images have to outlive the worker that built them: set REGISTRY")
        return self

    @property
    def store_url(self) -> str:
        return self.database_url or f"sqlite:///{self.data_dir / 'blacktree.db'}"

    @property
    def worker(self) -> str:
        return self.worker_name or socket.gethostname()

    @property
    def labels(self) -> frozenset[str]:
        """The words of WORKER_LABELS."""
        return frozenset(filter(None, (word.strip() for word in self.worker_labels.split(","))))

    def administers(self, login: str) -> bool:
        """Whether somebody at GitHub is one of ADMINS."""
        return bool(login) and login.casefold() in _names(self.admins)

    @property
    def sources(self) -> dict[str, str]:
        """Where each setting that was given was: a variable's name, or a file and a key."""
        return self._sources

    @property
    def welcome(self) -> tuple[str, ...]:
        """The organisations of ORGANIZATIONS."""
        return _names(self.organizations)

    @property
    def ranks(self) -> tuple[str, ...]:
        """The words of PRIORITIES, what goes first in front."""
        return tuple(word.strip() for word in self.priorities.split(","))

    @property
    def scaled(self) -> tuple[Pool, ...]:
        """The pools of POOLS."""
        return parsed(self.pools)

    @property
    def channels(self) -> tuple[Told, ...]:
        """The channels of NOTIFY."""
        return channels(self.notify.get_secret_value()) if self.notify else ()

    @property
    def base_url(self) -> str:
        return self.public_url or f"http://{netloc(self.host, self.port)}"

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

    def pull_logins(self, reference: str) -> list[Login]:
        """What a deploy of this image needs: the login of its host, the one that only reads if there is."""
        host = split(reference)[0]
        if self.registry_pull_password and host == split(self.registry)[0]:
            password = self.registry_pull_password.get_secret_value()
            return [Login(host, self.registry_pull_username, password)]
        return [login for login in self.registry_logins if login.host == host]

    @property
    def build_proxies(self) -> dict[str, str]:
        """The predefined arguments of builds, in both cases: programs differ in which one they read."""
        given = {
            "http_proxy": self.build_http_proxy,
            "https_proxy": self.build_https_proxy,
            "no_proxy": self.build_no_proxy,
        }
        return {cased: value for name, value in given.items() if value for cased in (name, name.upper())}

    @property
    def registries(self) -> list[str]:
        """The prefixes that images may be pushed to: REGISTRY, then the further ones."""
        return list(dict.fromkeys(filter(None, (self.registry, *self.push_registries.split(",")))))

    @property
    def host_rules(self) -> Rules:
        """Whose the host names of environments are."""
        return Rules(self.domain, owners(self.domain_owners))

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


def _meet(one: str, other: str) -> bool:
    """Whether two ranges of ports, FIRST-LAST, have one in common."""
    (first, last), (begin, end) = (map(int, text.split("-")) for text in (one, other))
    return first <= end and begin <= last


def _names(text: str) -> tuple[str, ...]:
    """The words between commas, as GitHub compares names."""
    return tuple(name.casefold() for part in text.split(",") if (name := part.strip()))
