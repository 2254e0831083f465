"""Ports that both sides must know: where a worker publishes its containers."""

from __future__ import annotations

# They are fixed, so that they survive a container's restart (Docker gives an ephemeral one anew), and lie
# below 32768, where Linux takes the ports of outgoing connections from.
PUBLISHED = range(22_000, 32_000)
