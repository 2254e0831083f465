"""Causes of runs that nobody asked for: GitHub is told nothing of them, besides the deployment."""

from __future__ import annotations

WAKE, LOST, CRASHED, SLEEP = "wake", "worker lost", "automatic rollback", "sleep"
QUIET = (WAKE, LOST, CRASHED, SLEEP)
