"""Build arguments that builders know by themselves: they need no ARG, and are no part of a layer's key."""

from __future__ import annotations

# https://docs.docker.com/reference/dockerfile/#predefined-args, whatever their case, as BuildKit reads them
_PROXIES = {"http_proxy", "https_proxy", "ftp_proxy", "no_proxy", "all_proxy"}
# https://docs.docker.com/reference/dockerfile/#buildkit-built-in-build-args
_BUILDKIT = "BUILDKIT_"
_EPOCH = "SOURCE_DATE_EPOCH"  # https://reproducible-builds.org/docs/source-date-epoch/


def is_predefined(name: str) -> bool:
    """Whether an argument of this name is the instance's to set, never a repository's."""
    return name.lower() in _PROXIES or name.upper().startswith(_BUILDKIT) or name.upper() == _EPOCH
