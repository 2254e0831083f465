"""The webhook as GitHub knows it: where it goes, which events it brings."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

# What a behaviour of ours decides about. `installation…` and `ping` come to an App unasked.
EVENTS = (
    "check_run",
    "check_suite",
    "create",
    "delete",
    "issue_comment",
    "merge_group",
    "pull_request",
    "push",
    "release",
    "repository",
)


def webhook_url(base: str) -> str:
    """Where GitHub sends deliveries to, for an instance at `base`."""
    return f"{base}/webhooks/github"


def out_of_reach(base: str, github: str) -> str:
    """Why GitHub at `github` can't reach `base`, for people; empty where nothing speaks against it."""
    if _local(base) and not _local(github):
        return (
            f"{urlsplit(github).hostname} can't reach {base}: set BLACKTREE_PUBLIC_URL to the address under "
            "which this instance is reached from outside, and start it again"
        )
    return ""


def _local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        address = ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified
