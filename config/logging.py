"""The process's own log: events with fields, one a line."""

from __future__ import annotations

import logging
import sys
from typing import Literal

import structlog


def configure(form: Literal["text", "json"], quiet: bool = False) -> None:
    """Send events to standard error, for people or as JSON; only what is critical if `quiet`."""
    level = logging.CRITICAL if quiet else logging.INFO
    renderer: structlog.typing.Processor
    if form == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(
            # Never a traceback with local variables: they may be secrets.
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,
        )
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    tracebacks = [structlog.processors.format_exc_info] if form == "json" else []
    structlog.configure(
        processors=[*shared, *tracebacks, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Our own queue says when it is connected or not; aiormq adds a traceback to each.
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)
    # Whoever used a connection that broke is told; the pool adds a traceback for each that it gives up.
    logging.getLogger("sqlalchemy.pool").setLevel(logging.CRITICAL)
    # A sweep that is still at work is not begun a second time; it is due again soon.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)
    # A line for each request that is none would let whoever reaches the port write as much as they like.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    logging.basicConfig(level=max(level, logging.WARNING), stream=sys.stderr)
