"""The orchestrator: webhooks come in, jobs go out to workers, GitHub is told how they end.

docs/architecture.md shows the way of one delivery through these rooms.
"""
