"""uvicorn's HTTP protocol without what it leaves open: one answer to a request, in the order in which they came.

- What another server could read otherwise is refused: versions other than 1.0 and 1.1, two `Host` headers or none, an
  odd one, a target that is no path. (Two lengths, odd encodings and bad chunks its parser refuses.)
- A trailer is no header: it comes after everything was decided by the headers.
- A malformed request is answered after those before it, and never in the middle of an answer or as a second one.
- Heads, trailers and what stands between chunks have a limit; neither uvicorn nor its parser has one.
- Another protocol (`Upgrade`) is not spoken; what follows such a request is nothing to be read.
"""

from __future__ import annotations

import re
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD: Final = 64 * 1024
"""Bytes of a request's first line and headers, and of what is neither these nor its body."""

BAD_REQUEST: Final = b"400 Bad Request"
HEAD_TOO_LARGE: Final = b"431 Request Header Fields Too Large"
REQUEST_TIMEOUT: Final = b"408 Request Timeout"
_BARE_ANSWER: Final = b"HTTP/1.1 %s\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"

_VERSIONS: Final = ("1.0", "1.1")
_TARGET: Final = re.compile(rb"/.*|https?://[^/].*", re.DOTALL | re.IGNORECASE)
_HOST: Final = re.compile(rb"(?:\[[0-9a-f:.]+\]|[0-9a-z._~!$&'()*+,;=%-]*)(?::\d{0,5})?", re.IGNORECASE)


class _Refused(Exception):
    """Raised out of the parser's callback: it then takes the request for malformed."""


class StrictProtocol(HttpToolsProtocol):
    """A connection."""

    _in_body = False
    """Between the end of a request's head and its own."""
    _is_over = False
    """Nothing more is read."""
    _loose = 0
    """Bytes that came since the last head, piece of a body or end of a request."""
    _last_answer: bytes | None = None

    def data_received(self, data: bytes) -> None:
        if self._is_over:
            return
        self._loose += len(data)
        super().data_received(data)
        if self._loose > MOST_HEAD and not self._is_over:
            self.refuse(HEAD_TOO_LARGE)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._check_head()
        super().on_headers_complete()
        self._in_body, self._loose = True, 0

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        self._loose = 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_body, self._loose = False, 0

    def on_response_complete(self) -> None:
        if self._last_answer is not None and not self.pipeline:
            self._end(self._last_answer)
        else:
            super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        self.refuse(BAD_REQUEST)

    def refuse(self, status: bytes) -> None:
        """Answer the request that is being read with this and nothing else, after those before it, and close."""
        self._is_over = True
        # There is none before the first head, whatever its annotation says.
        is_answering = self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]
        if self._in_body and not self.pipeline:
            # It is the one that is being answered.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._end(None if self.cycle.response_started else status)
        elif is_answering:
            if self._in_body:
                self.pipeline.popleft()
            self._last_answer = status
        else:
            self._end(status)

    def _end(self, status: bytes | None) -> None:
        if not self.transport.is_closing():
            if status is not None:
                self.transport.write(_BARE_ANSWER % status)
            self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Called after a request that offers another protocol; the parser takes all that follows for that."""
        self._is_over = True
        self.cycle.keep_alive = False

    def _check_head(self) -> None:
        version, method = self.parser.get_http_version(), self.parser.get_method()
        hosts = [value for name, value in self.headers if name == b"host"]
        is_target = _TARGET.fullmatch(self.url) or (method, self.url) == (b"OPTIONS", b"*")
        if version not in _VERSIONS or method == b"CONNECT" or not is_target:
            raise _Refused
        if len(hosts) != 1 and (version, hosts) != ("1.0", []):
            raise _Refused
        if not all(_HOST.fullmatch(host) for host in hosts):
            raise _Refused
