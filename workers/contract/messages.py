"""What the bot and its workers say to each other. Every message carries the version of this contract.

A job's message on the queue is a pointer (`Offer`). What a job needs comes with the `Grant`, whose
credentials are sealed to the worker that asked, so no broker ever holds a secret.

All of the contract is had from here: its words (words.py) and what a grant says (specs.py) too.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from config.processes import WEB
from workers.contract.backups import BackupResult, BackupSpec, Depot, Kept, RestoreSpec
from workers.contract.limits import Limits
from workers.contract.outputs import Measured, Printed, Reached
from workers.contract.services import Noted, ServiceNews, ServiceState
from workers.contract.shells import ShellOrder
from workers.contract.specs import (
    BuildSpec,
    Credentials,
    DeploySpec,
    ImageTest,
    PinSpec,
    Privileges,
    Probe,
    ProcessSpec,
    RegistryLogin,
    Source,
    Spec,
    StopSpec,
    TaskSpec,
    UpdateSpec,
)
from workers.contract.words import VERSION, AttemptRef, Fault, Kind, Message, Step, Value, now

__all__ = [
    "LAST_LINES",
    "VERSION",
    "Answer",
    "Answered",
    "Asked",
    "AttemptRef",
    "BackupResult",
    "BackupSpec",
    "BuildSpec",
    "Cancel",
    "Claim",
    "ContainerState",
    "Credentials",
    "DeploySpec",
    "Depot",
    "Event",
    "Failed",
    "Fault",
    "Finished",
    "Grant",
    "Heartbeat",
    "HeartbeatAnswer",
    "ImageResult",
    "ImageTest",
    "Kept",
    "Kind",
    "Known",
    "Limits",
    "LogChunk",
    "Lookup",
    "Measured",
    "Message",
    "Noted",
    "Nudge",
    "Offer",
    "Order",
    "PinSpec",
    "Printed",
    "Privileges",
    "Probe",
    "ProcessSpec",
    "Reached",
    "Ready",
    "Refusal",
    "RegistryLogin",
    "Request",
    "RestoreSpec",
    "ServiceNews",
    "ServiceState",
    "ShellOrder",
    "Source",
    "Spec",
    "Step",
    "StepChanged",
    "StepReport",
    "StopSpec",
    "Stopped",
    "Succeeded",
    "Switched",
    "TaskSpec",
    "UpdateSpec",
    "Value",
    "events",
    "now",
    "offers",
    "orders",
    "requests",
]


class Offer(Message):
    """A job waits: the message on a pool's queue."""

    kind: Literal["offer"] = "offer"
    job: str
    pool: str  # the line that it stands in: lines.py
    mark: str = ""  # by which the bot knows that it made it


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
    """The worker may start, as this attempt, until its lease ends.

    It may be another job than that of the offer, which is then this one's to settle all the same.
    """

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
    process: str = WEB
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
    services: list[ServiceState] = []
    disk_free: int = 0  # bytes
    problem: str = ""  # why it takes no jobs now, for people; empty if it does
    kept: str = ""  # which list of images to keep it has: `edition` of it; empty for none
    labels: list[str] = []  # its own, its architecture among them


class HeartbeatAnswer(Message):
    """Leases that are renewed, attempts to stop, releases to remove or to probe on, images to keep."""

    kind: Literal["heartbeat_answer"] = "heartbeat_answer"
    lease: float  # seconds from now
    lost: list[AttemptRef] = []
    cancelled: list[AttemptRef] = []
    retired: list[str] = []
    proving: list[str] = []  # in their stability window
    over: list[str] = []  # containers of services whose environment is no more
    # References of images that environments run, or may go back to; None: those that the worker has.
    kept: list[str] | None = []
    lines: list[str] = []  # that it takes from beside its pool's own: lines.py
    instance: str = ""  # of Blacktree, as images are labelled; empty: no image is judged


def edition(kept: Iterable[str]) -> str:
    """By which a worker and its bot know that they speak of the same list of images."""
    return sha256("\n".join(sorted(kept)).encode()).hexdigest()[:32]


class Lookup(Message):
    """Is there an image of the same inputs already?"""

    kind: Literal["lookup"] = "lookup"
    job: str
    attempt: int
    key: str  # of the inputs: workers/build/inputs.py


class Ready(Message):
    """A new release is healthy at these addresses: switch its routes, all as one."""

    kind: Literal["ready"] = "ready"
    job: str
    attempt: int
    release: str
    addresses: list[str]  # IP:PORT of each replica of `web`, as the proxy reaches it
    further: dict[str, list[str]] = {}  # likewise of its other processes that visitors reach


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


Asked = Claim | Heartbeat | Lookup | Measured | Printed | Ready | ServiceNews
Request = Annotated[Asked, Field(discriminator="kind")]
Answered = Grant | Refusal | HeartbeatAnswer | Known | Noted | Reached | Switched
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
    backup: BackupResult | None = None


class Failed(Value):
    """The attempt could not; `reason` is for programs, `sentence` for people."""

    outcome: Literal["failed"] = "failed"
    fault: Fault
    reason: str
    sentence: str
    step: Step | None = None
    exit_code: int | None = None  # of the command whose end it is


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


class Take(Message):
    """Claim this job: it has to be this worker's."""

    kind: Literal["take"] = "take"
    job: str
    pool: str


class Drain(Message):
    """Take no more jobs, end those that run however long they last, and end."""

    kind: Literal["drain"] = "drain"


Order = Annotated[Cancel | Nudge | Take | Drain | ShellOrder, Field(discriminator="kind")]

offers: TypeAdapter[Offer] = TypeAdapter(Offer)
requests: TypeAdapter[Asked] = TypeAdapter(Request)
events: TypeAdapter[StepChanged | Finished | LogChunk] = TypeAdapter(Event)
orders: TypeAdapter[Order] = TypeAdapter(Order)
