"""What a worker is told to do, and what it may know for it: the parts of a grant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from workers.contract.backups import BackupSpec, RestoreSpec
from workers.contract.limits import Limits
from workers.contract.services import Services
from workers.contract.words import Kind, Value


class Source(Value):
    """The commit to build."""

    repository: str  # OWNER/NAME
    clone_url: str  # without credentials
    sha: str
    depth: int = 1  # commits of history
    submodules: bool = False
    lfs: bool = False
    sparse: list[str] = []  # only these paths, as git's sparse-checkout takes them; all if empty


class ImageTest(Value):
    """A command that is run in the built image; its exit code decides."""

    command: list[str]
    network: bool = False
    timeout: float  # seconds


class BuildSpec(Value):
    """Build one image of one commit."""

    kind: Literal[Kind.BUILD] = Kind.BUILD
    source: Source
    image: str  # the image's name in .blacktree.yml
    context: str
    dockerfile: str
    target: str | None
    args: dict[str, str]
    platforms: list[str] = []  # such as linux/arm64; the engine's own if empty
    secrets: list[str] = []  # names of build secrets; their values come with the grant's credentials
    ssh: str | None = None  # name of the secret that holds a private key for --mount=type=ssh
    test: ImageTest | None = None
    memory: int | None = None  # bytes that the build may use; the worker's own limit if None
    cpus: float | None = None
    reference: str  # where it is deployed from, without a tag: localhost:5000/acme/shop
    copies: list[str] = []  # further names that it is pushed to
    tags: list[str]  # that are moved to it; the commit's SHA always is one
    push: bool  # False: the engine's own image store is the registry
    reserved: list[str] = []  # HOST/PREFIX of images that nobody starts from, but for `permitted`
    permitted: list[str] = []  # patterns (re) of the HOST/PATH of those that this build may start from
    shared: list[str] = []  # likewise, of images that everybody's may, as the engine has them
    cache: bool = True  # whether layers are taken from and kept in the registry
    pull: bool = False  # whether base images are asked for anew, however new the engine's are
    fresh: bool = False  # whether an image of the same inputs, and cached layers, are left alone
    fork: bool = False  # a stranger's code: reuses nothing of others, and nothing of it is reused
    timeout: float  # seconds
    labels: dict[str, str]


class Probe(Value):
    """When a container counts as healthy, asked from outside; `image` asks its own HEALTHCHECK.

    `up` asks nothing: it stays up for `lasts`; `command` is run in it.
    """

    kind: Literal["http", "tcp", "image", "up", "command"] = "http"
    path: str = "/"
    status: int | None = None  # that a GET answers; below 500 if None
    timeout: float  # seconds to become healthy in
    interval: float  # seconds
    lasts: float = 5  # seconds
    command: list[str] | None = None


class ProcessSpec(Value):
    """One way in which a release runs, in containers of its own."""

    name: str
    image: str  # by digest, or the engine's image id
    port: int | None  # the lowest exposed one if None and it is served; else nowhere
    served: bool  # whether visitors reach it, by HTTP or TCP: the bot is told its addresses
    command: list[str] | None
    env: dict[str, str]  # all of it, but for what is secret
    limits: Limits
    probe: Probe
    replicas: int = 1
    overlap: bool = True  # False: it ends before its successor begins
    grace: float = 10  # seconds between SIGTERM and SIGKILL

    @classmethod
    def told(cls, name: str, said: Mapping[str, Any], image: str, env: Mapping[str, str]) -> ProcessSpec:
        """As its environment's settings have it (config/processes.py); `env` is what all processes have."""
        health = {key: said["health"][key] for key in Probe.model_fields if key in said["health"]}
        return cls(
            name=name,
            image=image,
            port=said["port"],
            served=said["served"] or said.get("expose") is not None,
            command=said["command"],
            env={**said["env"], **env, "BLACKTREE_PROCESS": name},
            limits=Limits(**said["limits"]),
            probe=Probe(**health),
            replicas=said["replicas"],
            overlap=said["overlap"],
            grace=said["grace"],
        )


class Privileges(Value):
    """What only trusted repositories may ask for."""

    host_mounts: list[str] = []  # HOST:CONTAINER[:ro]
    privileged: bool = False
    host_network: bool = False


class DeploySpec(Value):
    """Start one release beside the one that serves."""

    kind: Literal[Kind.DEPLOY] = Kind.DEPLOY
    instance: str  # of Blacktree: two of them may share an engine, and a worker's name
    repository: str
    environment: str
    release: str
    image: str  # by digest, or the engine's image id
    pull: bool
    port: int | None
    command: list[str] | None
    env: dict[str, str]  # what is secret comes with the grant's credentials
    limits: Limits
    probe: Probe
    stability: float = 10  # seconds that Swarm watches each new task for; else the bot does
    labels: dict[str, str]
    target: Literal["containers", "swarm"] = "containers"
    replicas: int = 1
    release_command: list[str] | None = None  # run once in the new image before anything is started
    release_timeout: float = 600  # seconds
    volumes: dict[str, str] = {}  # the engine's volume ▸ path in the container
    networks: list[str] = []  # further networks, of environments that said that they share one
    user: str | None = None
    read_only: bool = False
    restart: Literal["unless-stopped", "on-failure", "no"] = "unless-stopped"
    grace: float = 10  # seconds between SIGTERM and SIGKILL when it is stopped
    privileges: Privileges = Privileges()
    host_port: int | None = None  # no proxy: this port for good, so the old release stops first
    serving: str | None = None  # the release that serves now, of which something may have to stop first
    services: Services | None = None
    processes: list[ProcessSpec] = []  # instead of one, `web`, which is as all the rest says
    tasks: int = 0  # that it has: so many may run beside it on its network


class StopSpec(Value):
    """Remove everything that an environment runs on this worker."""

    kind: Literal[Kind.STOP] = Kind.STOP
    instance: str
    repository: str
    environment: str
    target: Literal["containers", "swarm"] = "containers"
    volumes: bool = False  # whether its named volumes go too
    place: str = ""  # whose services stop, and go with their volumes


class TaskSpec(Value):
    """Run one command to its end in the image of a release, as its process would."""

    kind: Literal[Kind.TASK] = Kind.TASK
    name: str
    command: list[str]
    timeout: float  # seconds
    process: str = ""  # whose image, variables and limits it has; empty for the environment's own
    release: DeploySpec  # that is live


class PinSpec(Value):
    """Ask a registry by which digest it knows an image that is built elsewhere: once, without a wait."""

    kind: Literal["pin"] = "pin"
    reference: str  # HOST/PATH:TAG
    stranger: bool = False  # nobody's login is used
    reserved: list[str] = []  # HOST/PREFIX of images that nobody takes from there, but for `permitted`
    permitted: list[str] = []  # patterns (re) of HOST/PATH
    shared: list[str] = []  # likewise


class UpdateSpec(Value):
    """Have a service run what its tag is now, or an image of its repository's; its volumes stay."""

    kind: Literal[Kind.UPDATE] = Kind.UPDATE
    service: str
    before: str = ""  # the digest that it ran when this was asked for
    image: str = ""  # of the repository's, which it is to run; empty: its registry says which
    release: DeploySpec  # that is live, with that service alone


Spec = Annotated[
    BuildSpec | PinSpec | DeploySpec | StopSpec | TaskSpec | BackupSpec | RestoreSpec | UpdateSpec,
    Field(discriminator="kind"),
]


class RegistryLogin(Value):
    """A login at one registry host. With config.registries.IDENTITY_TOKEN as its user, a token for tokens."""

    model_config = ConfigDict(hide_input_in_errors=True)

    host: str
    username: str
    password: str = Field(repr=False)


class Credentials(Value):
    """What an attempt may know, and nobody else: never logged, never stored, in no error's text."""

    model_config = ConfigDict(hide_input_in_errors=True)

    git_username: str = ""
    git_password: str = Field("", repr=False)
    registries: list[RegistryLogin] = []
    # What a build's layers and cache mounts are kept under: nobody else can guess it.
    trust: str = Field("", repr=False)
    build: dict[str, str] = Field({}, repr=False)  # build secrets by name
    env: dict[str, str] = Field({}, repr=False)  # secret variables of a release's containers
    services: dict[str, dict[str, str]] = Field({}, repr=False)  # secret variables of each service
    # What opens the depot of backups at S3; the worker's own chain of credentials if empty.
    depot_id: str = ""
    depot_secret: str = Field("", repr=False)

    def secrets(self) -> list[str]:
        """The values to mask in every log line."""
        passwords = (login.password for login in self.registries)
        generated = (value for values in self.services.values() for value in values.values())
        known = (
            self.git_password, self.depot_secret, *passwords,
            *self.build.values(), *self.env.values(), *generated,
        )  # fmt: skip
        return [word for word in known if word]
