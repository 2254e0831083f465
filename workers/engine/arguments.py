"""What is to be built ▸ the arguments of the builder that builds it, or why that one cannot."""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from config.predefined import is_predefined
from workers.contract.failure import Failure, final
from workers.engine.builder import BuildOrder

# What buildx adds of itself has times in it, and makes an index of what was one image.
# The classic builder is a program of this very package.
_PACKAGES = Path(__file__).resolve().parents[2]
_NO_ATTESTATIONS = {"BUILDX_NO_DEFAULT_ATTESTATIONS": "1"}


class Kind(enum.Enum):
    """Ways of building, best first."""

    BUILDX = "docker buildx"
    OWN = "the docker CLI's own BuildKit"  # gone from Docker 23 on
    CLASSIC = "Docker's classic builder"


@dataclass(frozen=True)
class Way:
    """A way of building that this machine has."""

    kind: Kind
    cli: Sequence[str]
    description: str  # for people
    several: bool = False  # whether it makes an image for several platforms
    heredocs: bool = False  # whether its own frontend knows them
    loads: bool = True  # whether the engine makes the image itself; killed then, a build is still finished

    @property
    def env(self) -> Mapping[str, str]:
        """What the child needs besides."""
        return {
            Kind.BUILDX: _NO_ATTESTATIONS,
            Kind.OWN: {"DOCKER_BUILDKIT": "1"},
            Kind.CLASSIC: {"PYTHONPATH": str(_PACKAGES)},
        }[self.kind]


@dataclass(frozen=True)
class Private:
    """Files in memory that are gone when the build has ended."""

    secrets: Mapping[str, Path] = field(default_factory=dict)
    ssh_key: Path | None = None
    metadata: Path | None = None  # where buildx writes a digest to


def refusal(way: Way, order: BuildOrder) -> Failure | None:
    """Why this way cannot build that."""
    if len(order.platforms) > 1 and not (way.several and order.push_to):
        if not way.several:
            return final(
                "buildx_needed",
                f"An image for {' and '.join(order.platforms)} needs docker buildx with a builder that makes"
                f" several platforms, and this worker has {way.description}: install docker buildx there and"
                " run `docker buildx create --driver docker-container --bootstrap --use`",
            )
        return final("registry_needed", "An image for several platforms goes to a registry: set REGISTRY")
    private = "secrets" if order.secrets else "an SSH key" if order.ssh_key else ""
    if private and way.kind is Kind.CLASSIC:
        return final(
            "buildkit_needed",
            f"This build gets {private}, which needs BuildKit, and this worker has only {way.description}:"
            " install docker buildx there",
        )
    return None


def arguments(way: Way, order: BuildOrder, private: Private, limits: Sequence[str] = ()) -> list[str]:
    """The whole command. No secret is in it."""
    verb = {Kind.BUILDX: ["buildx", "build", "--progress=plain"], Kind.OWN: ["build", "--progress=plain"]}
    return [
        *way.cli,
        *verb.get(way.kind, ["build"]),
        *_result(way, order, private),
        *_what(order, _args(way, order)),
        *_apart(way, order),
        *(_cache(way, order) if way.kind is not Kind.CLASSIC else ()),
        *_private(private),
        *limits,
        str(order.context),
    ]


def _result(way: Way, order: BuildOrder, private: Private) -> list[str]:
    if len(order.platforms) > 1:
        return ["--push", "-t", str(order.push_to), f"--metadata-file={private.metadata}"]
    return [*(["--load"] if way.kind is Kind.BUILDX else []), "-t", order.tag]


def _what(order: BuildOrder, args: Mapping[str, str]) -> list[str]:
    flags = ["-f", str(order.dockerfile)]
    flags += ["--target", order.target] if order.target else []
    flags += ["--platform", ",".join(order.platforms)] if order.platforms else []
    flags += [part for name, value in args.items() for part in ("--build-arg", f"{name}={value}")]
    # Their values are in the builder's environment: a proxy's may have a password.
    flags += [part for name in order.proxies for part in ("--build-arg", name)]
    flags += [part for name, value in order.labels.items() for part in ("--label", f"{name}={value}")]
    flags += ["--pull"] if order.pull else []
    return flags + (["--no-cache"] if order.fresh else [])


def _args(way: Way, order: BuildOrder) -> dict[str, str]:
    """What a builder knows by itself is ours to set, whatever a repository's arguments say.

    SOURCE_DATE_EPOCH sets the times in an image's configuration from Docker 23 on (BuildKit 0.11).
    BUILDKIT_CACHE_MOUNT_NS separates cache mounts from Docker 20.10 on (tried; BuildKit 0.6 has it).
    """
    args = {name: value for name, value in order.args.items() if not is_predefined(name)}
    if order.epoch is not None:
        args["SOURCE_DATE_EPOCH"] = str(order.epoch)
    if order.trust and way.kind is not Kind.CLASSIC:  # which has no cache mounts
        args["BUILDKIT_CACHE_MOUNT_NS"] = _derived("mounts", order.trust)
    return args


def _apart(way: Way, order: BuildOrder) -> list[str]:
    """One engine keeps the layers of builds of all trusts: this makes those of one nobody else's.

    BuildKit has the names of a step's further hosts in its layer's key, and nothing else that is ours to say
    without a change of the Dockerfile (tried with 20.10 and buildx; the address is left out of the key). So
    steps of two trusts are two steps, also where a secret made the layer, which is in no key. Other layers
    are known by their content. The classic builder knows a layer's command alone, but can be held to the
    layers that certain images are made of.
    """
    if not order.trust:
        return []
    if way.kind is Kind.CLASSIC:
        return [f"--cache-from={image}" for image in (order.tag, *order.kin)]  # never none: that means all
    return [f"--add-host={_derived('layers', order.trust)[:32]}.invalid:127.0.0.1"]


def _derived(what: str, trust: str) -> str:
    """One does not tell the other: a step sees its hosts."""
    return hashlib.sha256(f"{what} {trust}".encode()).hexdigest()


def _cache(way: Way, order: BuildOrder) -> list[str]:
    buildx = way.kind is Kind.BUILDX
    taken = [] if order.fresh else order.cache
    flags = [f"--cache-from={'type=registry,ref=' if buildx else ''}{reference}" for reference in taken]
    if order.keep_cache:
        flags += ["--cache-to=type=inline"] if buildx else ["--build-arg", "BUILDKIT_INLINE_CACHE=1"]
    return flags


def _private(private: Private) -> list[str]:
    flags = [f"--secret=id={name},src={file}" for name, file in private.secrets.items()]
    return flags + ([f"--ssh=default={private.ssh_key}"] if private.ssh_key else [])
