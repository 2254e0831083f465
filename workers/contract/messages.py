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

    version: Literal[1] = 1


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
    PUSH = "push"
    PULL = "pull"
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
    committed_at: int | None = None  # seconds since 1970


class BuildSpec(Value):
    """Build one image of one commit."""

    kind: Literal[Kind.BUILD] = Kind.BUILD
    source: Source
    image: str  # the image's name in .blacktree.yml
    context: str
    dockerfile: str
    target: str | None
    args: dict[str, str]
    reference: str  # without a tag: localhost:5000/acme/shop
    tags: list[str]
    push: bool  # False: the engine's own image store is the registry
    timeout: float  # seconds
    labels: dict[str, str]


class Limits(Value):
    """What one container may use."""

    memory: int  # bytes
    cpus: float
    pids: int


class Probe(Value):
    """When a container counts as healthy, asked from outside."""

    path: str
    timeout: float  # seconds
    interval: float  # seconds


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
    env: dict[str, str]
    limits: Limits
    probe: Probe
    labels: dict[str, str]


class StopSpec(Value):
    """Remove everything that an environment runs on this worker."""

    kind: Literal[Kind.STOP] = Kind.STOP
    instance: str
    repository: str
    environment: str


Spec = Annotated[BuildSpec | DeploySpec | StopSpec, Field(discriminator="kind")]


class RegistryLogin(Value):
    """A login at one registry host."""

    host: str
    username: str
    password: str


class Credentials(Value):
    """What an attempt may know, and nobody else: never logged, never stored."""

    git_username: str = ""
    git_password: str = ""
    registries: list[RegistryLogin] = []

    def secrets(self) -> list[str]:
        """The values to mask in every log line."""
        return [word for word in (self.git_password, *(login.password for login in self.registries)) if word]


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


class ContainerState(Value):
    """A container of a release that a worker has."""

    release: str
    environment: str
    running: bool
    restarts: int


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


class HeartbeatAnswer(Message):
    """Leases that are renewed, attempts to stop, and releases whose containers are to go."""

    kind: Literal["heartbeat_answer"] = "heartbeat_answer"
    lease: float  # seconds from now
    lost: list[AttemptRef] = []
    cancelled: list[AttemptRef] = []
    retired: list[str] = []


class Ready(Message):
    """A new release is healthy at this address: switch its route."""

    kind: Literal["ready"] = "ready"
    job: str
    attempt: int
    release: str
    address: str  # IP:PORT as the proxy reaches it


class Switched(Message):
    """Traffic goes to the new release."""

    kind: Literal["switched"] = "switched"
    url: str


Request = Annotated[Claim | Heartbeat | Ready, Field(discriminator="kind")]
Answer = Annotated[Grant | Refusal | HeartbeatAnswer | Switched, Field(discriminator="kind")]


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


class ImageResult(Value):
    """What a build made."""

    digest: str  # sha256:…: of the manifest in the registry, or the engine's image id
    reference: str  # as a deploy names it
    size: int  # bytes, as the engine reports them
    tree: str  # git tree that it was built from


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
requests: TypeAdapter[Claim | Heartbeat | Ready] = TypeAdapter(Request)
answers: TypeAdapter[Grant | Refusal | HeartbeatAnswer | Switched] = TypeAdapter(Answer)
events: TypeAdapter[StepChanged | Finished | LogChunk] = TypeAdapter(Event)
orders: TypeAdapter[Cancel | Nudge] = TypeAdapter(Order)
