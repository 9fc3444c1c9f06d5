"""An httpx transport with a deadline for the whole call, and, on request, a guard on the addresses it connects to.

httpx's own timeouts start anew with every byte, so a server that drips one byte a second holds a call for ever. Here
each look-up, connect, TLS handshake, read and write gets at most the smaller of its own timeout and the time left.

Ask for it per request: ``client.get(url, extensions={"deadline_s": 30.0})``; reading the answer's body counts too.
With ``"least_bytes_per_s": 10_240`` beside it the answer must also come at that pace.
Built on httpcore's public API: a `ConnectionPool` with a network backend of our own.
"""

from __future__ import annotations

import functools
import ipaddress
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpcore
import httpx

from llamaparse.address_guard import AddressGuard

MonotonicClock = Callable[[], float]
"""Seconds on a clock that never goes back."""

Resolver = Callable[[str, int], Sequence[str]]
"""The addresses of a host, best first, as text. Raises OSError when there are none."""

OPERATIONS: Final = ("connect", "read", "write", "pool")
PASSED: Final = "the deadline for the whole call has passed"
GRACE_S: Final = 30.0
PACE_S: Final = 60.0

_HTTPX_ERRORS: Final[Mapping[type[Exception], type[httpx.TransportError]]] = {
    httpcore.ConnectTimeout: httpx.ConnectTimeout,
    httpcore.ReadTimeout: httpx.ReadTimeout,
    httpcore.WriteTimeout: httpx.WriteTimeout,
    httpcore.PoolTimeout: httpx.PoolTimeout,
    httpcore.ConnectError: httpx.ConnectError,
    httpcore.ReadError: httpx.ReadError,
    httpcore.WriteError: httpx.WriteError,
    httpcore.UnsupportedProtocol: httpx.UnsupportedProtocol,
    httpcore.LocalProtocolError: httpx.LocalProtocolError,
    httpcore.RemoteProtocolError: httpx.RemoteProtocolError,
}


def system_resolver(host: str, port: int) -> list[str]:
    """What the operating system answers, in its order."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # an empty or too long label, for Python's IDNA codec
        raise OSError(f"not a host name: {host}") from error
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Pace:
    """How fast an answer must come: after `GRACE_S` seconds of waiting for it, in every further `PACE_S` of them.

    The time between reads, in which we are the slow ones, does not count.

    Raises:
        httpcore.ReadTimeout: it comes slower.
    """

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._received, self._waited_s, self._judged_s = 0, 0.0, 0.0

    def received(self, size: int, waited_s: float) -> None:
        """Count what came, and how long it was waited for."""
        self._received += size
        self._waited_s += waited_s
        passed_s = self._waited_s - self._judged_s
        if not self._judged_s and passed_s >= GRACE_S:
            self._received, self._judged_s = 0, self._waited_s
        elif self._judged_s and passed_s >= PACE_S:
            if self._received < self._bytes_per_s * passed_s:
                raise httpcore.ReadTimeout(f"the answer comes slower than {self._bytes_per_s:,.0f} bytes a second")
            self._received, self._judged_s = 0, self._waited_s


class TimeLimit(float):
    """A timeout in seconds that knows the moment by which the whole call must be over.

    httpcore hands each operation the timeout of the request it belongs to, as it is. So the deadline travels inside
    the timeout: a reused connection keeps to the later request's deadline, and no state hangs on a thread.
    """

    deadline: float
    pace: Pace | None

    def __new__(cls, timeout_s: float, deadline: float, pace: Pace | None = None) -> TimeLimit:
        limit = super().__new__(cls, timeout_s)
        limit.deadline, limit.pace = deadline, pace
        return limit


def _limits(request: httpx.Request, clock: MonotonicClock) -> dict[str, float | None]:
    """The request's own timeouts, each with the request's deadline inside if it has one."""
    own: Mapping[str, float | None] = request.extensions.get("timeout", {})
    deadline_s: float | None = request.extensions.get("deadline_s")
    timeouts = {operation: own.get(operation) for operation in OPERATIONS}
    if deadline_s is None:
        return timeouts
    deadline = clock() + deadline_s
    least: float | None = request.extensions.get("least_bytes_per_s")
    pace = None if least is None else Pace(least)
    return {
        operation: TimeLimit(deadline_s if timeout_s is None else min(timeout_s, deadline_s), deadline, pace)
        for operation, timeout_s in timeouts.items()
    }


def _seconds_left(timeout: float | None, clock: MonotonicClock, passed: type[Exception]) -> float | None:
    if not isinstance(timeout, TimeLimit):
        return timeout
    left = timeout.deadline - clock()
    if left <= 0:
        raise passed(PASSED)
    return min(float(timeout), left)


class _DeadlineStream(httpcore.NetworkStream):
    """httpcore's stream, each operation cut to the time left."""

    def __init__(self, stream: httpcore.NetworkStream, clock: MonotonicClock) -> None:
        self._stream = stream
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        left = _seconds_left(timeout, self._clock, httpcore.ReadTimeout)
        if not isinstance(timeout, TimeLimit) or timeout.pace is None:
            return self._stream.read(max_bytes, left)
        begun = self._clock()
        received = self._stream.read(max_bytes, left)
        timeout.pace.received(len(received), self._clock() - begun)
        return received

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # httpcore's own loop gives every partial send the whole timeout anew: a slow reader could stretch it for ever.
        sock: socket.socket = self._stream.get_extra_info("socket")
        unsent = memoryview(buffer)
        while unsent:
            left = _seconds_left(timeout, self._clock, httpcore.WriteTimeout)
            try:
                sock.settimeout(left)
                unsent = unsent[sock.send(unsent) :]
            except TimeoutError as error:
                raise httpcore.WriteTimeout(str(error)) from error
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        try:
            left = _seconds_left(timeout, self._clock, httpcore.ConnectTimeout)
        except httpcore.ConnectTimeout:
            self.close()
            raise
        return _DeadlineStream(self._stream.start_tls(ssl_context, server_hostname, left), self._clock)

    def get_extra_info(self, info: str) -> object:
        return self._stream.get_extra_info(info)


class _Backend(httpcore.NetworkBackend):
    """Resolves once, lets the guard sort the addresses, and connects to one of exactly those."""

    def __init__(self, guard: AddressGuard | None, resolve: Resolver, clock: MonotonicClock) -> None:
        self._guard = guard
        self._resolve = resolve
        self._clock = clock
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        left = _seconds_left(timeout, self._clock, httpcore.ConnectTimeout)
        until = None if left is None else self._clock() + left
        addresses = self._look_up(host, port, left)
        if self._guard is not None:
            addresses = self._guard.permitted(host, addresses)
        problem: Exception = httpcore.ConnectError(f"the name {host} has no address")
        for tried, address in enumerate(addresses):
            # A share of the time for each, so that one that swallows packets doesn't use up what another needs.
            share = None if until is None else (until - self._clock()) / (len(addresses) - tried)
            if share is not None and share <= 0:
                raise httpcore.ConnectTimeout(f"no connection to {host} in time")
            try:
                stream = self._sockets.connect_tcp(address, port, share, local_address, socket_options)
                return _DeadlineStream(stream, self._clock)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        raise problem

    def _look_up(self, host: str, port: int, seconds: float | None) -> Sequence[str]:
        """The host's addresses. The system's resolver knows no timeout, so a thread waits for it in our place."""
        try:
            return [str(ipaddress.ip_address(host))]
        except ValueError:
            pass
        found: queue.SimpleQueue[Sequence[str] | OSError] = queue.SimpleQueue()

        def look_up() -> None:
            try:
                found.put(self._resolve(host, port))
            except OSError as error:
                found.put(error)

        threading.Thread(target=look_up, name=f"resolve {host}", daemon=True).start()
        try:
            answer = found.get(timeout=seconds)
        except queue.Empty:
            raise httpcore.ConnectTimeout(f"the name {host} was not resolved in time") from None
        if isinstance(answer, OSError):
            raise httpcore.ConnectError(f"the name {host} can't be resolved: {answer}")
        return answer


@contextmanager
def _as_httpx() -> Iterator[None]:
    try:
        yield
    except tuple(_HTTPX_ERRORS) as error:
        raise _HTTPX_ERRORS[type(error)](str(error)) from error


class _Body(httpx.SyncByteStream):
    """The answer's body; closing it gives the connection back."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        with _as_httpx():
            yield from self._answer.iter_stream()

    def close(self) -> None:
        self._answer.close()


@functools.cache
def _default_tls() -> ssl.SSLContext:
    """One for the whole process: reading the authorities' certificates takes 20 ms."""
    return httpx.create_ssl_context()


class DeadlineTransport(httpx.BaseTransport):
    """HTTP/1.1 with a deadline for each request (`extensions["deadline_s"]`, seconds; none without it).

    It repeats nothing, follows no redirect and uses no proxy from the environment.

    Args:
        guard: what may be connected to; without it anything may.
        resolve: names to addresses.
        clock: seconds, monotonic.
        max_keepalive_connections: how many idle connections wait for another request; 0 gives each its own.
        keepalive_s: how long an idle connection is kept.
        ssl_context: how to check certificates; httpx's default if None (`SSL_CERT_FILE` is honoured).

    Raises:
        OrderRefused: the guard refuses the URL or every address of its host.
        httpx.TransportError: as httpx's own transport does; a passed deadline is a `TimeoutException`.
    """

    def __init__(
        self,
        *,
        guard: AddressGuard | None = None,
        resolve: Resolver = system_resolver,
        clock: MonotonicClock = time.monotonic,
        max_connections: int = 100,
        max_keepalive_connections: int = 20,
        keepalive_s: float = 5.0,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._guard = guard
        self._clock = clock
        self._pool = httpcore.ConnectionPool(
            ssl_context=ssl_context or _default_tls(),
            max_connections=max_connections,
            max_keepalive_connections=max_keepalive_connections,
            keepalive_expiry=keepalive_s,
            retries=0,
            network_backend=_Backend(guard, resolve, clock),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request once; the answer's body is still to be read, against the same deadline."""
        if self._guard is not None:
            self._guard.check_url(str(request.url))
        url = request.url
        outgoing = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.stream,
            extensions={**request.extensions, "timeout": _limits(request, self._clock)},
        )
        with _as_httpx():
            answer = self._pool.handle_request(outgoing)
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Body(answer),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()


def no_cookies() -> CookieJar:
    """A jar that takes nothing in: calls must not depend on the ones before them."""
    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))


def guarded_client(
    allowed: Sequence[str], *, timeout: httpx.Timeout, resolve: Resolver = system_resolver
) -> httpx.Client:
    """A client for what strangers name (`source_url`, `callback_url`). Close it after use.

    http and https only, no redirects, no cookies kept, no proxy or password from the environment, each connection
    for one request. Give every request a deadline: ``extensions={"deadline_s": 30.0}``. It asks for bodies as they
    are; read them with `iter_raw` against a limit, since a server may compress them all the same.

    Args:
        allowed: hosts, addresses and networks that may be reached though private (`PARSEGATE_PRIVATE_HOSTS`).
        timeout: for each connect, read and write, in seconds.

    Raises:
        BadSetting: an entry of `allowed` is malformed.
    """
    transport = DeadlineTransport(guard=AddressGuard(allowed), resolve=resolve, max_keepalive_connections=0)
    return httpx.Client(
        transport=transport,
        timeout=timeout,
        headers={"Accept-Encoding": "identity"},
        cookies=no_cookies(),
        follow_redirects=False,
        trust_env=False,
    )
