"""A drain that speaks syslog: RFC 5424 over TLS (5425), TCP (6587, with lengths) or UDP (5426)."""

from __future__ import annotations

import asyncio
import fcntl
import socket
import ssl
import struct
import termios
from collections.abc import Sequence

from bot.log_drains import forms
from bot.log_drains.forms import Source
from bot.log_drains.sink import DrainDown, Target, resolved
from bot.store.outputs import Kept
from config.trust import trusted

_TIMEOUT = 20.0  # seconds for one batch, and for a connection
_LOOK = 0.01  # seconds between two looks whether the other side has all of it
_ESTABLISHED = 1  # linux/tcp_states.h


class StreamSink:
    """One connection, over which one batch goes at a time.

    Syslog answers nothing. So a batch counts as taken when the other machine's TCP has acknowledged the last
    byte of it on a connection that is still whole: what lies unread in a program that dies there is lost.
    """

    at_once = 1

    def __init__(self, target: Target) -> None:
        self._target = target
        self._line: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send(self, source: Source, lines: Sequence[Kept]) -> None:
        messages = await asyncio.to_thread(forms.syslog, source, lines)
        content = b"".join(map(forms.counted, messages))
        try:
            async with asyncio.timeout(_TIMEOUT):
                reader, writer = await self._connected()
                writer.write(content)
                await writer.drain()
                while not _acknowledged(writer.get_extra_info("socket")):  # noqa: ASYNC110 (the kernel tells nobody)
                    await asyncio.sleep(_LOOK)
                if reader.at_eof() or writer.is_closing():
                    raise ConnectionResetError("it has hung up")
        except (OSError, TimeoutError) as error:
            await self.close()
            raise DrainDown(f"it can't be reached: {str(error) or 'time-out'}") from None
        except BaseException:
            await self.close()  # half of a message may be under way
            raise

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._line is not None and not self._line[0].at_eof() and not self._line[1].is_closing():
            return self._line
        await self.close()
        place = self._target.address
        secure: ssl.SSLContext | None = trusted() if place.transport == "tls" else None
        hosts = await resolved(self._target)
        for host in hosts:
            try:
                reader, writer = await asyncio.open_connection(
                    host, place.port, ssl=secure, server_hostname=place.host if secure else None
                )
                break
            except OSError:
                if host == hosts[-1]:
                    raise
        writer.transport.set_write_buffer_limits(high=0)  # `drain` waits for all of it
        self._line = reader, writer
        return self._line

    async def close(self) -> None:
        if self._line is not None:
            self._line[1].transport.abort()
            self._line = None


def _acknowledged(connection: socket.socket) -> bool:
    """Whether the other side's TCP has all that was written (tcp(7)). Raises ConnectionResetError."""
    asked = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
    (unacknowledged,) = struct.unpack("i", asked)
    # Asked after that: a connection that was reset has nothing under way either.
    state = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    if state[0] != _ESTABLISHED:
        raise ConnectionResetError("it has hung up")
    return bool(unacknowledged == 0)


class DatagramSink:
    """A datagram for each line: what is lost on the way, nobody knows."""

    at_once = 1

    def __init__(self, target: Target) -> None:
        self._target = target
        self._line: tuple[asyncio.DatagramTransport, _Heard] | None = None

    async def send(self, source: Source, lines: Sequence[Kept]) -> None:
        try:
            async with asyncio.timeout(_TIMEOUT):
                transport, heard = await self._connected()
                for message in forms.syslog(source, lines):
                    transport.sendto(forms.datagram(message))
                    await asyncio.sleep(0)  # who listens there is one program, with one buffer
                if heard.error is not None:
                    raise heard.error
        except (OSError, TimeoutError) as error:
            await self.close()
            raise DrainDown(f"it can't be reached: {str(error) or 'time-out'}") from None

    async def _connected(self) -> tuple[asyncio.DatagramTransport, _Heard]:
        if self._line is None:
            host = (await resolved(self._target))[0]
            place = host, self._target.address.port
            self._line = await asyncio.get_running_loop().create_datagram_endpoint(_Heard, remote_addr=place)
        return self._line

    async def close(self) -> None:
        if self._line is not None:
            self._line[0].abort()
            self._line = None


class _Heard(asyncio.DatagramProtocol):
    """What the network says of datagrams: that nobody is there, at best."""

    error: Exception | None = None

    def error_received(self, exc: Exception) -> None:
        self.error = exc
