"""What the bot and its workers say to each other. Every message carries the version of this contract.

A job's message on the queue is a pointer (`Offer`). What a job needs comes with the `Grant`, whose
credentials are sealed to the worker that asked, so no broker ever holds a secret.
"""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


class Message(BaseModel):
    """A frozen value. A reader of another version of the contract refuses it as a whole."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[2] = 2


class Value(BaseModel):
    """A part of a message."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Kind(StrEnum):
    """What a job does."""

    BUILD = "build"
    DEPLOY = "deploy"
    STOP = "stop"


class Step(StrEnum):
    """A named stage inside an attempt."""

    CHECKOUT = "checkout"
    BUILD = "build"
    TEST = "test"
    PUSH = "push"
    PULL = "pull"
    RELEASE = "release"  # the release command, in the new image
    START = "start"
    CHECK = "check"
    SWITCH = "switch"
    STOP = "stop"


class Fault(StrEnum):
    """Whose fault a failure is, which decides what follows."""

    USER = "user"  # never retried; shown with what to do
    OURS = "ours"  # retried, up to the job's limit
    FINAL = "final"  # ours, and not worth a retry


class AttemptRef(Value):
    """One try at a job. Its number is the fencing token."""

    job: str
    attempt: int


# -- jobs -------------------------------------------------------------------------------------------


class Offer(Message):
    """A job waits: the message on a pool's queue."""

    kind: Literal["offer"] = "offer"
    job: str
    pool: str


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
    cache: bool = True  # whether layers are taken from and kept in the registry
    pull: bool = False  # whether base images are asked for anew, however new the engine's are
    fresh: bool = False  # whether an image of the same inputs, and cached layers, are left alone
    fork: bool = False  # a stranger's code: reuses nothing of others, and nothing of it is reused
    timeout: float  # seconds
    labels: dict[str, str]


class Limits(Value):
    """What one container may use."""

    memory: int  # bytes
    cpus: float
    pids: int


class Probe(Value):
    """When a container counts as healthy, asked from outside; `image` asks its own HEALTHCHECK."""

    kind: Literal["http", "tcp", "image"] = "http"
    path: str = "/"
    status: int | None = None  # that a GET answers; below 500 if None
    timeout: float  # seconds to become healthy in
    interval: float  # seconds


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
    serving: str | None = None  # the release that serves now, which `host_port` has to stop


class StopSpec(Value):
    """Remove everything that an environment runs on this worker."""

    kind: Literal[Kind.STOP] = Kind.STOP
    instance: str
    repository: str
    environment: str
    target: Literal["containers", "swarm"] = "containers"
    volumes: bool = False  # whether its named volumes go too


Spec = Annotated[BuildSpec | DeploySpec | StopSpec, Field(discriminator="kind")]


class RegistryLogin(Value):
    """A login at one registry host. With config.registries.IDENTITY_TOKEN as its user, a token for tokens."""

    host: str
    username: str
    password: str


class Credentials(Value):
    """What an attempt may know, and nobody else: never logged, never stored."""

    git_username: str = ""
    git_password: str = ""
    registries: list[RegistryLogin] = []
    build: dict[str, str] = {}  # build secrets by name
    env: dict[str, str] = {}  # secret variables of a release's containers

    def secrets(self) -> list[str]:
        """The values to mask in every log line."""
        passwords = (login.password for login in self.registries)
        return [
            word for word in (self.git_password, *passwords, *self.build.values(), *self.env.values()) if word
        ]


# -- requests of a worker, and the bot's answers -----------------------------------------------------


class Claim(Message):
    """A worker wants the job of an offer. `nonce` makes asking twice the same as asking once."""

    kind: Literal["claim"] = "claim"
    job: str
    worker: str
    instance: str
    nonce: str
    public_key: str  # hex, for the sealed credentials
    redelivered: bool = False


class Grant(Message):
    """The worker may start, as this attempt, until its lease ends."""

    kind: Literal["grant"] = "grant"
    job: str
    attempt: int
    lease: float  # seconds from now
    spec: Spec
    sealed: str  # hex: Credentials, sealed to the claim's public key


class Refusal(Message):
    """No: the job is somebody else's, or over. The offer is to be dropped, or tried again later."""

    kind: Literal["refusal"] = "refusal"
    reason: str
    retry: bool = False
    users: bool = False  # it is somebody's to mend, not a worker's to try again


LAST_LINES = 2000  # characters


class ContainerState(Value):
    """A container of a release that a worker has. Exit code and memory are those of its last end."""

    release: str
    environment: str
    name: str = ""
    running: bool
    restarts: int
    exit_code: int = 0
    out_of_memory: bool = False
    health: str = ""  # of the image's own HEALTHCHECK: starting, healthy, unhealthy; empty without one
    failing: str = ""  # what its probe finds wrong, while the bot has its release probed; empty if nothing
    address: str = ""  # IP:PORT where it is reached now
    aside: bool = False  # stopped by its worker while a deploy needs its port: no crash
    last_lines: str = ""  # what it printed before it ended, masked; at most LAST_LINES characters


class Heartbeat(Message):
    """A worker is alive, and what it does and has."""

    kind: Literal["heartbeat"] = "heartbeat"
    worker: str
    instance: str
    pool: str
    slots: int
    address: str
    software: str  # Blacktree's version, engine and builder, for people
    draining: bool = False
    stopped: bool = False
    attempts: list[AttemptRef] = []
    containers: list[ContainerState] = []
    disk_free: int = 0  # bytes
    problem: str = ""  # why it takes no jobs now, for people; empty if it does


class HeartbeatAnswer(Message):
    """Leases that are renewed, attempts to stop, releases to remove or to probe on, images to keep."""

    kind: Literal["heartbeat_answer"] = "heartbeat_answer"
    lease: float  # seconds from now
    lost: list[AttemptRef] = []
    cancelled: list[AttemptRef] = []
    retired: list[str] = []
    proving: list[str] = []  # in their stability window
    kept: list[str] = []  # references of images that environments run, or may go back to
    instance: str = ""  # of Blacktree, as images are labelled; empty: no image is judged


class Lookup(Message):
    """Is there an image of the same inputs already?"""

    kind: Literal["lookup"] = "lookup"
    job: str
    attempt: int
    key: str  # of the inputs: workers/inputs.py


class Ready(Message):
    """A new release is healthy at these addresses: switch its route."""

    kind: Literal["ready"] = "ready"
    job: str
    attempt: int
    release: str
    addresses: list[str]  # IP:PORT of each replica, as the proxy reaches it


class Switched(Message):
    """Traffic goes to the new release."""

    kind: Literal["switched"] = "switched"
    url: str


class ImageResult(Value):
    """What a build made, or found made."""

    digest: str  # sha256:…: of the manifest in the registry, or the engine's image id
    reference: str  # as a deploy names it
    size: int  # bytes, as the engine reports them
    tree: str  # git tree that it was built from
    key: str = ""  # of the inputs; empty where they are not all known
    layers: int = 0  # of the build
    cached: int = 0  # layers of those that came from the cache
    reused: str = ""  # the commit that it was built for, where nothing was built


class Known(Message):
    """The image of the same inputs, if there is one that this job may use."""

    kind: Literal["known"] = "known"
    image: ImageResult | None
    sha: str = ""  # the commit that it was built for


Asked = Claim | Heartbeat | Lookup | Ready
Request = Annotated[Asked, Field(discriminator="kind")]
Answered = Grant | Refusal | HeartbeatAnswer | Known | Switched
Answer = Annotated[Answered, Field(discriminator="kind")]


# -- what a worker tells, in order -------------------------------------------------------------------


class StepReport(Value):
    """A step and its times; `ended_at` is None while it runs."""

    name: Step
    started_at: datetime
    ended_at: datetime | None = None
    ok: bool | None = None


class StepChanged(Message):
    """A step of an attempt started or ended."""

    kind: Literal["step"] = "step"
    job: str
    attempt: int
    step: StepReport


class Succeeded(Value):
    """The attempt did its work."""

    outcome: Literal["succeeded"] = "succeeded"
    image: ImageResult | None = None


class Failed(Value):
    """The attempt could not; `reason` is for programs, `sentence` for people."""

    outcome: Literal["failed"] = "failed"
    fault: Fault
    reason: str
    sentence: str
    step: Step | None = None


class Stopped(Value):
    """The attempt was told to stop, and nothing of it is left."""

    outcome: Literal["cancelled"] = "cancelled"


class Finished(Message):
    """The end of an attempt, sufficient by itself: earlier events may be late or lost."""

    kind: Literal["finished"] = "finished"
    job: str
    attempt: int
    at: datetime
    result: Annotated[Succeeded | Failed | Stopped, Field(discriminator="outcome")]
    steps: list[StepReport]


class LogChunk(Message):
    """Log lines of an attempt. `offset` counts the characters before it, so that a repeat is seen."""

    kind: Literal["log"] = "log"
    job: str
    attempt: int
    offset: int
    text: str


Event = Annotated[StepChanged | Finished | LogChunk, Field(discriminator="kind")]


# -- orders to one worker ------------------------------------------------------------------------------


class Cancel(Message):
    """Stop this attempt."""

    kind: Literal["cancel"] = "cancel"
    job: str
    attempt: int


class Nudge(Message):
    """Send a heartbeat now: there is news for you in its answer."""

    kind: Literal["nudge"] = "nudge"


Order = Annotated[Cancel | Nudge, Field(discriminator="kind")]

offers: TypeAdapter[Offer] = TypeAdapter(Offer)
requests: TypeAdapter[Asked] = TypeAdapter(Request)
answers: TypeAdapter[Answered] = TypeAdapter(Answer)
events: TypeAdapter[StepChanged | Finished | LogChunk] = TypeAdapter(Event)
orders: TypeAdapter[Cancel | Nudge] = TypeAdapter(Order)
