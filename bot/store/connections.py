"""What is done at each use of a connection: whether it is there, and how long its statements take."""

from __future__ import annotations

import select as sockets
import time
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Connection, Engine, ExceptionContext
from sqlalchemy.exc import DisconnectionError

from bot.metrics.instruments import Instruments

_RESTED = 5.0  # seconds after which a connection is asked whether it is there
_READ_ONLY = "25006"  # https://www.postgresql.org/docs/current/errcodes-appendix.html
_USED = "blacktree used"  # when that was, in the `info` of a connection


def check_connections(engine: Engine) -> None:
    """None is used that has gone. Three round trips for each transaction would tell, or a look at the socket:
    there is something to read from one that was closed, and nothing from one that nobody asks."""

    @event.listens_for(engine, "handle_error")
    def _demoted(context: ExceptionContext) -> None:
        """None is used again that leads to a server which is the primary no more: another may lead to it."""
        if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
            context.is_disconnect = True

    @event.listens_for(engine, "checkin")
    def _used(_connection: Any, record: Any) -> None:
        record.info[_USED] = time.monotonic()

    @event.listens_for(engine, "checkout")
    def _there(connection: Any, record: Any, _proxy: Any) -> None:
        rested = time.monotonic() - record.info.get(_USED, time.monotonic())
        if rested > _RESTED or _readable(connection.driver_connection.fileno()):
            try:
                engine.dialect.do_ping(connection)
            except engine.dialect.loaded_dbapi.Error as error:
                raise DisconnectionError from error


def _readable(descriptor: int) -> bool:
    poll = sockets.poll()
    poll.register(descriptor, sockets.POLLIN)  # an end or an error is told in any case
    return bool(poll.poll(0))


def measure(engine: Engine, instruments: Instruments) -> None:
    """Tell how long statements take, from before the database is asked to after it has answered."""

    @event.listens_for(engine, "before_cursor_execute")
    def _begun(
        _connection: Connection, _cursor: Any, _sql: str, _values: Any, context: Any, _many: bool
    ) -> None:
        context.blacktree_begun = time.perf_counter()

    @event.listens_for(engine, "after_cursor_execute")
    def _ended(
        _connection: Connection, _cursor: Any, _sql: str, _values: Any, context: Any, _many: bool
    ) -> None:
        writes = context.isinsert or context.isupdate or context.isdelete
        instruments.statement(time.perf_counter() - context.blacktree_begun, writes=writes)
