"""What a builder or a registry printed ▸ what went wrong, whose fault it is, and in which step."""

from __future__ import annotations

import re
from collections import deque

from workers.failure import Failure, final, ours, user

_VERTEX = re.compile(r"^#(\d+) (\[.+)$")
_VERTEX_ERROR = re.compile(r"^#(\d+) ERROR:? ?(.*)$")
_CLASSIC_STEP = re.compile(r"^Step (\d+/\d+) : (.+)$")
_SUMMARY = re.compile(
    r"^ ?(?:ERROR: |error: )?(failed to (?:build|solve|fetch|resolve|do request|copy).*)$", re.I
)
_FATAL = re.compile(r"^ERROR: (.+)$")
_EXIT = re.compile(r"(?:exit code: |returned a non-zero code: )(\d+)")
_LONGEST = 160  # characters of a quotation
_TAIL = 20  # lines: a command that ran out of space says so last

_NO_DOCKERFILE = re.compile(
    r"failed to read dockerfile|cannot locate (?:the )?specified dockerfile|"
    r"unable to evaluate symlinks in dockerfile path|dockerfile: no such file",
    re.I,
)
_NO_SPACE = re.compile(r"no space left on device", re.I)
_ENGINE_GONE = re.compile(
    r"cannot connect to the docker daemon|error during connect|is the docker daemon running|"
    r"code = unavailable|unexpected EOF|graceful_stop|session closed|engine does not answer",
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
_IMAGE_NAME = re.compile(r"(?:metadata for|access denied for|manifest for) (\S+?)[:,]?(?:\s|$)")


class Progress:
    """Reads a build's output (BuildKit's plain progress or the classic builder's) line by line."""

    def __init__(self) -> None:
        self._vertices: dict[str, str] = {}
        self._failed: tuple[str, str] | None = None  # step, error
        self._classic: str | None = None
        self._errors: list[str] = []
        self._last = ""
        self._tail: deque[str] = deque(maxlen=_TAIL)

    def feed(self, piece: str) -> None:
        line = piece.rstrip()
        if not line:
            return
        self._tail.append(line[:_LONGEST])
        if line.strip("-"):
            self._last = line
        if match := _VERTEX_ERROR.match(line):
            self._failed = self._failed or (self._vertices.get(match[1], ""), match[2])
        elif match := _VERTEX.match(line):
            self._vertices.setdefault(match[1], match[2])
        elif match := _CLASSIC_STEP.match(line):
            self._classic = f"[{match[1]}] {match[2]}"
        elif match := _SUMMARY.match(line) or _FATAL.match(line):
            self._errors.append(match[1])

    def failure(self, code: int, dockerfile: str) -> Failure:
        """Why a build ended with exit code `code`, which is not 0."""
        step, error = self._failed or (self._classic or "", "")
        text = " ".join((error, *self._errors, self._last if not error else ""))
        found = _EXIT.search(text)
        if found and not any(map(_NO_SPACE.search, self._tail)):
            return user("build_failed", f"{_step(step)}: exit code {found[1]}{_hint(found[1])}")
        if _NO_DOCKERFILE.search(text):
            return user("dockerfile_missing", f"There is no {dockerfile} in this commit")
        if found or _NO_SPACE.search(text):
            return ours("disk_full", "The worker's disk is full")
        if _ENGINE_GONE.search(text):
            return ours("engine_gone", "The worker's Docker engine went away during the build")
        if _NETWORK.search(text):
            return ours("registry_unreachable", f"A registry did not answer: {_cut(error or self._reason())}")
        if _IMAGE_SOUGHT.search(f"{step} {text}") and (_NOT_FOUND.search(text) or _DENIED.search(text)):
            return user(
                "base_image_missing",
                f"{self._image(step, text)} cannot be pulled: there is no such image, or no access to it",
            )
        if step or self._errors or self._last:
            what = _cut(_reason_of(error) or self._reason())
            return user("build_failed", f"{_step(step)}: {what}" if step else f"The build failed: {what}")
        return ours("build_broken", f"The builder ended with exit code {code} and said nothing")

    def _reason(self) -> str:
        return _reason_of(self._errors[-1]) if self._errors else self._last

    def _image(self, step: str, text: str) -> str:
        found = _METADATA.search(step) or _IMAGE_NAME.search(text)
        return f"Base image {found[1].rstrip(':')}" if found else "A base image"


def _reason_of(error: str) -> str:
    """The part of a chain of `failed to …:` that says what happened."""
    noise = r"^(?:ERROR: )?(?:failed to (?:build|solve|create LLB definition|solve with frontend [\w.]+): )+"
    return re.sub(r"^rpc error: code = \w+ desc = ", "", re.sub(noise, "", error))


def _step(step: str) -> str:
    named = step.startswith("[") and not step.startswith("[internal]")
    return f"Dockerfile step {_cut(step)}" if named else "The build"


def _hint(code: str) -> str:
    return " (killed: out of memory?)" if code == "137" else ""


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def transfer_failure(verb: str, reference: str, said: str) -> Failure:
    """Why `docker push` or `docker pull` (`verb`) of `reference` failed, by the end of its output."""
    last = _cut(next((line for line in reversed(said.splitlines()) if line.strip()), "no reason was given"))
    host = reference.split("/")[0]
    if _ENGINE_GONE.search(said):
        return ours("engine_gone", f"The worker's Docker engine does not answer: {last}")
    if _NO_SPACE.search(said):
        return ours("disk_full", "The worker's disk is full")
    if _NETWORK.search(said):
        return ours("registry_unreachable", f"{host} did not answer: {last}")
    if _DENIED.search(said):
        return final("registry_denied", f"{host} refused the {verb} of {reference}: check its login ({last})")
    if _NOT_FOUND.search(said):
        return final("image_missing", f"{host} does not know {reference} ({last})")
    return ours(f"{verb}_failed", f"The {verb} of {reference} failed: {last}")


def digest_in(said: str) -> str | None:
    """The digest in the output of `docker push`."""
    found = re.findall(r"digest: (sha256:[0-9a-f]{64})", said)
    return found[-1] if found else None
