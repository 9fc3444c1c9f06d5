"""One request to the provider, one reply: connections, time limits, the document's bytes on their way out."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import BinaryIO, Final, cast

import httpx

from domain.errors import BadSetting, ParsegateError, StoreUnavailable
from llamaparse.answers import Answer, Reply, Rules, json_object, judge, known_secrets, read_reply
from llamaparse.transport import DeadlineTransport, no_cookies

_KEY: Final = re.compile(r"[\x21-\x7e]+")
_MEDIA_TYPE: Final = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+( *; *[\w.-]+=[\w.-]+)*", re.ASCII)


@dataclass(frozen=True)
class Timeouts:
    """How long a call may take, in seconds. The first four start anew with every byte, the deadlines never.

    Args:
        connect_s: for the look-up and the connection, and again for the TLS handshake.
        read_s: for the next bytes of an answer.
        write_s: for the next bytes of a request.
        pool_s: for a free connection.
        deadline_s: for a whole call, from the look-up to the answer's last byte.
        result_deadline_s: the same for `get_job`, whose answer can be large.
        upload_deadline_s: the same for a call that carries a document.
    """

    connect_s: float = 5.0
    read_s: float = 30.0
    write_s: float = 30.0
    pool_s: float = 5.0
    deadline_s: float = 60.0
    result_deadline_s: float = 300.0
    upload_deadline_s: float = 900.0


class Document:
    """A document's bytes as httpx's multipart form reads them: from the start, and exactly as many as it announced.

    Args:
        content: its length is announced if it can seek; otherwise it goes out in chunks from where it stands.
        filename: as the provider is to see it.
        content_type: guessed from the file name if None or malformed.

    Raises:
        StoreUnavailable: the bytes can't be read, or their number changed meanwhile.
    """

    def __init__(self, content: BinaryIO, filename: str, content_type: str | None = None) -> None:
        # A lone surrogate (a file name that isn't UTF-8) can't be sent; without a name it would be no file at all.
        self.filename = filename.encode("utf-8", "replace").decode() or "document"
        self.content_type = content_type if content_type and _MEDIA_TYPE.fullmatch(content_type) else None
        self._content = content
        self._sent = 0
        try:
            self._length = content.seek(0, os.SEEK_END) if content.seekable() else None
        except OSError as error:
            raise StoreUnavailable(f"the document can't be read: {error}") from error

    def tell(self) -> int:
        """How many bytes have been read."""
        if self._length is None:
            raise io.UnsupportedOperation("tell")
        return self._sent

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Back to the start, or ask for the length: all that httpx does."""
        if self._length is None:
            raise io.UnsupportedOperation("seek")
        if whence == os.SEEK_END:
            return self._length
        try:
            self._sent = self._content.seek(offset)
        except OSError as error:
            raise StoreUnavailable(f"the document can't be read: {error}") from error
        return self._sent

    def read(self, size: int = -1) -> bytes:
        """The next bytes."""
        try:
            piece = self._content.read(size)
        except OSError as error:
            raise StoreUnavailable(f"the document can't be read: {error}") from error
        self._sent += len(piece)
        if self._length is not None and (self._sent > self._length or (not piece and self._sent < self._length)):
            raise StoreUnavailable("the document changed its length while it was being sent")
        return piece


@dataclass(frozen=True, kw_only=True)
class Call:
    """One request, to be sent once.

    Args:
        method: of HTTP.
        path: quoted, starts with a slash.
        deadline_s: for the whole call, in seconds.
        limit_bytes: the largest decoded answer.
        params: for the query; a list repeats its name.
        body: JSON.
        form: fields of a multipart form, beside `document`.
        document: sent as the field `file`.
        paid: the call makes a job.
        secrets: in the request, never to be shown if they come back.
    """

    method: str
    path: str
    deadline_s: float
    limit_bytes: int
    params: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)
    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    document: Document | None = None
    paid: bool = False
    secrets: Sequence[str | None] = field(default=(), repr=False)


class Exchange:
    """Sends calls to one base URL with one key. Safe to share between threads.

    Raises:
        BadSetting: the URL or the key can't be used.
    """

    def __init__(
        self, base_url: str, api_key: str, *, timeouts: Timeouts, transport: httpx.BaseTransport | None
    ) -> None:
        if not _KEY.fullmatch(api_key):
            # `from None` and no value: the sentence, and all that hangs on it, must not hold the key.
            raise BadSetting("LLAMA_CLOUD_API_KEY is empty or holds a space, a line break or a non-ASCII character")
        self.base_url = _checked_base_url(base_url)
        self._key = api_key
        self.key_id = sha256(api_key.encode()).hexdigest()[:12]
        self._timeout = httpx.Timeout(
            connect=timeouts.connect_s, read=timeouts.read_s, write=timeouts.write_s, pool=timeouts.pool_s
        )
        self._http = self._client(transport or DeadlineTransport())
        # A paid call has a connection to itself: an idle one that the server is just closing would cost a long doubt,
        # and one on which an earlier answer lied about its length could hand us the answer to something else.
        self._paid_http = self._client(transport or DeadlineTransport(max_keepalive_connections=0))

    def _client(self, transport: httpx.BaseTransport) -> httpx.Client:
        return httpx.Client(
            base_url=self.base_url,
            transport=transport,
            headers={
                "Authorization": f"Bearer {self._key}",
                "Accept": "application/json",
                "Accept-Encoding": "gzip",
                "User-Agent": "parsegate",
            },
            timeout=self._timeout,
            cookies=no_cookies(),
            follow_redirects=False,
            trust_env=False,
        )

    def close(self) -> None:
        """Close all connections."""
        self._http.close()
        self._paid_http.close()

    def ask(self, call: Call) -> Answer:
        """Send the call once; the JSON object of a 2xx.

        Raises:
            ParsegateError: any other outcome, by the rules of `llamaparse.answers`.
        """
        rules = self._rules(call)
        reply = self.send(call)
        return Answer(json_object(reply, rules), reply, rules)

    def send(self, call: Call) -> Reply:
        """Send the call once; a 2xx, whatever its body.

        Raises:
            ParsegateError: any other outcome, by the rules of `llamaparse.answers`.
        """
        outcome = self._outcome(call, self._rules(call))
        # Raised here, far from the handlers: httpx's errors hold the request, and with it the key.
        if isinstance(outcome, ParsegateError):
            raise outcome
        return outcome

    def _outcome(self, call: Call, rules: Rules) -> Reply | ParsegateError:
        try:
            reply = self._transfer(call, rules)
        except (httpx.TransportError, httpx.InvalidURL) as error:  # InvalidURL: of a redirect's location
            return rules.lost(error)
        except StoreUnavailable as error:
            return rules.lost(error) if call.paid else error
        return judge(reply, rules) or reply

    def _transfer(self, call: Call, rules: Rules) -> Reply:
        http = self._paid_http if call.paid else self._http
        files = None
        if call.document is not None:
            document = call.document
            files = {"file": (document.filename, cast(BinaryIO, document), document.content_type)}
        request = http.build_request(
            call.method,
            call.path,
            params=dict(call.params) or None,
            content=call.body,
            headers=None if call.body is None else {"Content-Type": "application/json"},
            data=dict(call.form) or None,
            files=files,
            extensions={"deadline_s": call.deadline_s},
        )
        response = http.send(request, stream=True)
        try:
            return read_reply(response, call.limit_bytes, rules)
        finally:
            response.close()

    def _rules(self, call: Call) -> Rules:
        return Rules(paid=call.paid, secrets=known_secrets(self._key, *call.secrets))


def _checked_base_url(base_url: str) -> str:
    """The URL without a slash at its end.

    Raises:
        BadSetting: it isn't a plain http or https URL. A password in it would replace the key, and would be shown.
    """
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL:  # its words could hold a part of a password
        raise BadSetting("LLAMA_CLOUD_BASE_URL is malformed") from None
    port_exists = url.port is None or 0 < url.port < 65536
    if url.scheme not in {"http", "https"} or not url.host or not port_exists:
        raise BadSetting("LLAMA_CLOUD_BASE_URL must be an http or https URL with a host and a valid port")
    if url.userinfo or url.query or url.fragment:
        raise BadSetting("LLAMA_CLOUD_BASE_URL must not hold a user name, a password, a query or a fragment")
    return str(url).rstrip("/")
