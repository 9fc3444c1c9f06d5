"""An ASGI app on uvicorn, in a thread with a loop of its own, on a socket that was bound before."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

import uvicorn
import uvloop

from domain.errors import ParsegateError, StoreUnavailable
from parsegate.connections import Patience, protocol_with, usual_patience

STOP_S: Final = 10


def bind(host: str, port: int) -> socket.socket:
    """A bound socket; port 0 takes a free one.

    Raises:
        StoreUnavailable: the port is in use, or the address is not this machine's; says what to do.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
        # Listening at once makes a port that somebody else listens on an error here, not later.
        bound.listen(2048)
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise StoreUnavailable(f"port {port} on {host} is in use: choose another with --port") from None
        raise StoreUnavailable(f"can't listen on {host} port {port}: {error.strerror or error}") from None
    return bound


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the process that starts it decides when it ends."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class ServerThread:
    """Serves `app` until `stop`.

    Args:
        app: the ASGI app.
        listening: a bound socket; it is closed at the end.
        before, after: run in the same loop before the first and after the last request.
        patience: with slow senders; by default as `usual_patience` says.
        proxies: addresses and networks whose word about the sender is believed (``X-Forwarded-For``, ``-Proto``).
    """

    def __init__(
        self,
        app: Any,
        listening: socket.socket,
        *,
        before: Callable[[], Awaitable[None]],
        after: Callable[[], Awaitable[None]],
        patience: Patience | None = None,
        proxies: Sequence[str] = (),
    ) -> None:
        config = uvicorn.Config(
            app,
            loop="none",
            http=protocol_with(patience or usual_patience()),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            # Without a proxy that is named, anybody's word about the sender would be believed.
            proxy_headers=bool(proxies),
            forwarded_allow_ips=list(proxies),
            timeout_keep_alive=30,
            timeout_graceful_shutdown=STOP_S,
        )
        self._server = _Server(config)
        self._socket = listening
        self._before, self._after = before, after
        self._ready = threading.Event()
        self._trouble: ParsegateError | None = None
        self._thread = threading.Thread(target=self._run, name="gateway")

    @property
    def url(self) -> str:
        """Where it listens."""
        host, port = self._socket.getsockname()[:2]
        shown = "127.0.0.1" if host == "0.0.0.0" else f"[{host}]" if ":" in host else host  # noqa: S104
        return f"http://{shown}:{port}"

    def start(self) -> None:
        """Start, and return when requests are served.

        Raises:
            ParsegateError: what `before` raised.
        """
        self._thread.start()
        self._ready.wait()
        if not self._server.started:
            self._thread.join()
            raise self._trouble or StoreUnavailable("the gateway did not start")

    def stop(self) -> None:
        """Finish the requests under way, and stop."""
        self._server.should_exit = True
        self._thread.join()

    @property
    def is_running(self) -> bool:
        """False once it has stopped, for whatever reason."""
        return self._thread.is_alive()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        try:
            await self._before()
            serving = asyncio.create_task(self._server.serve(sockets=[self._socket]))
            while not self._server.started and not serving.done():
                await asyncio.sleep(0.005)
        except ParsegateError as error:
            self._trouble = error
            self._socket.close()
            return
        finally:
            self._ready.set()
        await serving
        await self._after()
