"""What a builder or a registry said of a failure ▸ what went wrong, and whose fault it is."""

from __future__ import annotations

import re

from workers.contract.failure import DISK_FULL, Failure, final, ours, user

_EXIT = re.compile(r"(?:exit code: |returned a non-zero code: )(\d+)")
_LONGEST = 160  # characters of a quotation
_KILLED = 137  # 128 + SIGKILL

_NO_DOCKERFILE = re.compile(
    r"failed to read dockerfile|cannot locate (?:the )?specified dockerfile|"
    r"unable to evaluate symlinks in dockerfile path|dockerfile: no such file",
    re.I,
)
_NO_SPACE = re.compile(r"no space left on device|disk quota exceeded", re.I)
_ENGINE_GONE = re.compile(
    r"cannot connect to the docker daemon|error during connect|is the docker daemon running|"
    r"code = unavailable|unexpected EOF|graceful_stop|session closed|engine does not answer|"
    r"transport is closing|error reading from server|no active session|"
    # The classic builder's own layers, removed while it was at work.
    r"no such image: sha256:|no such container",
    re.I,
)
_NETWORK = re.compile(
    r"no such host|i/o timeout|connection refused|connection reset|tls handshake|handshake timeout|"
    r"temporary failure in name resolution|network is unreachable|no route to host|context deadline exceeded|"
    r"client\.timeout exceeded|server misbehaving|toomanyrequests|too many requests|\b429\b|"
    r"unexpected (?:http )?status(?: code)?.{0,80}?\b5\d\d\b|"
    r"5\d\d (?:internal server|bad gateway|service|gateway)|"
    r"bad gateway|service unavailable|gateway time-?out|internal server error|: EOF\b",
    re.I,
)
_LIMITED = re.compile(r"pull rate limit", re.I)
_PLAIN = re.compile(r"server gave HTTP response to HTTPS client", re.I)
_TOO_LARGE = re.compile(r"\b413\b|request entity too large|content too large", re.I)
_TOKEN_REFUSED = re.compile(
    r"failed to fetch oauth token.{0,400}?\b40[13]\b|incorrect username or password", re.I
)
_FRONTEND_GONE = re.compile(r"frontend grpc server closed unexpectedly", re.I)
_NO_FRONTEND = re.compile(r"failed to solve with frontend gateway\.v0: (?!failed)", re.I)
_DENIED = re.compile(
    r"unauthorized|authentication required|no basic auth|denied|insufficient_scope|forbidden|\b40[13]\b", re.I
)
_NOT_FOUND = re.compile(
    r"not found|manifest unknown|does not exist|no such image|name unknown|repository name not known", re.I
)
_IMAGE_SOUGHT = re.compile(
    r"pull access denied|manifest unknown|manifest for|load metadata for|resolve source metadata|"
    r"requested access to the resource is denied|failed to resolve reference",
    re.I,
)
_METADATA = re.compile(r"load metadata for (\S+)")
_IMAGE_NAME = re.compile(r"(?:metadata for|access denied for|manifest for|reference) (\S+?)[:,]?(?:\s|$)")
_PLATFORM = re.compile(
    r"no match for platform|does not match the (?:specified|expected) platform|no matching manifest for|"
    r"does not provide the specified platform|no image found in (?:manifest list|image index) for",
    re.I,
)
_EMULATION = re.compile(r"exec format error", re.I)
_OTHER = "take another one, or another platform (`platforms` of the image in .blacktree.yml)"
_FRONTEND = "where it names an image in `# syntax=`, check that it is one that reads Dockerfiles"
_PRIVATE = re.compile(r"\bsecret \S+:? not found|unset ssh forward|no ssh handler", re.I)


def build_failure(
    code: int,
    step: str,
    error: str,
    said: list[str],
    dockerfile: str,
    *,
    out_of_memory: bool = False,
    full: bool = False,
) -> Failure:
    """Why a build ended with exit code `code`, which is not 0.

    `step` is the one that failed and `error` what was said of it; `said` is what the builder said at its end.
    `full`: the step's own last lines say that there is no space.
    """
    text = " ".join((error, *said))
    reason = reason_of(said[-1]) if said else ""
    if full:
        return ours(DISK_FULL, "The worker's disk is full")
    if _NO_FRONTEND.search(text):
        return user("build_failed", f"What the Dockerfile names in `# syntax=` cannot read it: {cut(reason)}")
    if found := _EXIT.findall(text):
        return user("build_failed", f"{_step(step)}: exit code {found[-1]}{_hint(found[-1], out_of_memory)}")
    if code < 0:
        return ours("builder_killed", f"The builder was killed by signal {-code}")
    if _NO_DOCKERFILE.search(text):
        return user("dockerfile_missing", f"There is no {dockerfile} in this commit")
    if _NO_SPACE.search(text):
        return ours(DISK_FULL, "The worker's disk is full")
    if _ENGINE_GONE.search(text):
        return ours("engine_gone", "The worker's Docker engine went away during the build")
    if _FRONTEND_GONE.search(text):
        return ours("frontend_gone", f"What reads the Dockerfile ended unexpectedly: {_FRONTEND}")
    if _PRIVATE.search(text):
        what = f"{_step(step)}: {cut(reason_of(error) or reason)}"
        return user("secret_missing", f"{what}: name it under `secrets` or `ssh` of the image")
    if _EMULATION.search(text):
        todo = "install an emulator on the worker (binfmt), or build on one of that platform"
        return user("build_failed", f"{_step(step)}: {cut(reason_of(error) or reason)}: {todo}")
    if failure := _refused(text, _image(step, text)):
        return failure
    if _PLATFORM.search(text):
        return user("base_image_missing", f"{_image(step, text)} is not made for that platform: {_OTHER}")
    if _NETWORK.search(text):
        return ours("registry_unreachable", f"A registry did not answer: {cut(error or reason)}")
    if _IMAGE_SOUGHT.search(f"{step} {text}") and (_NOT_FOUND.search(text) or _DENIED.search(text)):
        return user(
            "base_image_missing",
            f"{_image(step, text)} cannot be pulled: there is no such image, or no access to it",
        )
    if step or said:
        what = cut(reason_of(error) or reason)
        return user("build_failed", f"{_step(step)}: {what}" if step else f"The build failed: {what}")
    return ours("build_broken", f"The builder ended with exit code {code} and said nothing")


def transfer_failure(verb: str, reference: str, said: str) -> Failure:
    """Why `docker push` or `docker pull` (`verb`) of `reference` failed, by the end of its output."""
    last = cut(next((line for line in reversed(said.splitlines()) if line.strip()), "no reason was given"))
    host = reference.split("/")[0]
    if _ENGINE_GONE.search(said):
        return ours("engine_gone", f"The worker's Docker engine does not answer: {last}")
    if _NO_SPACE.search(said):
        return ours(DISK_FULL, "The worker's disk is full")
    if failure := _refused(said, reference):
        return failure
    if _PLATFORM.search(said):
        todo = "name it under `platforms` of the image in .blacktree.yml, or deploy on a worker of its own"
        return user("wrong_platform", f"{reference} is not made for this worker's platform: {todo} ({last})")
    if _TOO_LARGE.search(said):
        return final(
            "registry_refused",
            f"{host}, or a proxy before it, takes no layer as large as one of {reference} (413): raise its"
            " limit (nginx: `client_max_body_size 0`)",
        )
    if _NETWORK.search(said):
        return ours("registry_unreachable", f"{host} did not answer: {last}")
    if _DENIED.search(said):
        return final("registry_denied", f"{host} refused the {verb} of {reference}: check its login ({last})")
    if _NOT_FOUND.search(said):
        return final("image_missing", f"{host} does not know {reference} ({last})")
    return ours(f"{verb}_failed", f"The {verb} of {reference} failed: {last}")


def _refused(said: str, what: str) -> Failure | None:
    """What an operator has to mend, else every try ends like this; `what` is the image that was wanted."""
    if _LIMITED.search(said):
        return final(
            "registry_limited",
            f"{what} cannot be pulled: Docker Hub's pull limit is reached, which counts for hours. Give"
            " Blacktree a login for docker.io (BLACKTREE_REGISTRY_AUTHS), or take the image from a mirror",
        )
    if _PLAIN.search(said):
        return final(
            "registry_untrusted",
            f"{what} cannot be reached: its registry speaks plain HTTP, and Docker wants TLS. Give it a"
            " certificate, or name it under `insecure-registries` in the worker's /etc/docker/daemon.json",
        )
    if _TOKEN_REFUSED.search(said):
        return final(
            "registry_denied",
            f"{what} cannot be reached: its registry refuses this worker's login. Check it:"
            " BLACKTREE_REGISTRY_USERNAME and BLACKTREE_REGISTRY_PASSWORD, or BLACKTREE_REGISTRY_AUTHS",
        )
    return None


def reason_of(error: str) -> str:
    """The part of a chain of `failed to …:` that says what happened."""
    noise = r"failed to (?:build|solve|create LLB definition|solve with frontend [\w.]+): "
    return re.sub(rf"^(?:ERROR: )?(?:{noise}|rpc error: code = \w+ desc = )*", "", error)


def cut(text: str) -> str:
    """A quotation that fits a sentence."""
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _step(step: str) -> str:
    named = step.startswith("[") and not step.startswith("[internal]")
    return f"Dockerfile step {cut(step)}" if named else "The build"


def _hint(code: str, out_of_memory: bool) -> str:
    if out_of_memory:
        return " (out of memory: raise limits.memory)"
    return " (killed: out of memory?)" if int(code) == _KILLED else ""


def _image(step: str, text: str) -> str:
    found = _METADATA.search(step) or _IMAGE_NAME.search(text)
    return f"Base image {found[1].rstrip(':')}" if found else "A base image"
