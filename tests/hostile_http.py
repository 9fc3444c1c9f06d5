"""Requests that are no proper HTTP, or that two readers could read in two ways; no library would send them."""

from __future__ import annotations

from typing import Final

from tests.hostile_kit import EVENT, JOB, Attack, Target, request, sign

HOOK: Final = f"/webhooks/llamaparse/{JOB}"
REFUSED: Final = frozenset({400})
INNER: Final = b"GET /v1/documents HTTP/1.1\r\nHost: x\r\n\r\n"
"""What a smuggler wants to be read as a request of its own. It would be answered with 401, where nobody asked."""
OK: Final = frozenset({200})


def framing(target: Target) -> list[Attack]:
    """Two lengths, odd encodings, and what hides behind them: one answer, and never a second request."""
    bodies = {"webhook": ("POST", HOOK, f"LC-Signature: {sign(EVENT)}"), "open": ("GET", "/healthz", "X: y")}
    bodies["guarded"] = ("POST", "/v1/documents", f"Authorization: Bearer {target.token}")
    bodies["llamacloud"] = ("POST", "/api/v2/parse", f"Authorization: Bearer {target.token}")
    found: list[Attack] = []
    for where, (method, path, header) in bodies.items():
        for name, (lines, body) in _FRAMINGS.items():
            head = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", header, *lines, "", ""]).encode("latin-1")
            found.append(Attack(f"{name} at {where}", head + body, REFUSED, then="closed"))
    return found


_FRAMINGS: Final[dict[str, tuple[tuple[str, ...], bytes]]] = {
    "CL.TE": (("Content-Length: 6", "Transfer-Encoding: chunked"), b"0\r\n\r\nG" + INNER),
    "TE.CL": (("Transfer-Encoding: chunked", "Content-Length: 3"), b"8\r\nSMUGGLED\r\n0\r\n\r\n" + INNER),
    "TE.TE": (("Transfer-Encoding: chunked", "Transfer-Encoding: identity"), b"0\r\n\r\n" + INNER),
    "TE.TE twice chunked": (("Transfer-Encoding: chunked", "Transfer-encoding: chunked"), b"0\r\n\r\n" + INNER),
    "TE chunked, identity": (("Transfer-Encoding: chunked, identity",), b"0\r\n\r\n" + INNER),
    "TE identity": (("Transfer-Encoding: identity",), INNER),
    "TE unknown": (("Transfer-Encoding: xchunked",), b"0\r\n\r\n" + INNER),
    "TE quoted": (('Transfer-Encoding: "chunked"',), b"0\r\n\r\n" + INNER),
    "TE with a parameter": (("Transfer-Encoding: chunked;q=1",), b"0\r\n\r\n" + INNER),
    "TE with a vertical tab": (("Transfer-Encoding: \x0bchunked",), b"0\r\n\r\n" + INNER),
    "TE with a space before its colon": (("Transfer-Encoding : chunked",), b"0\r\n\r\n" + INNER),
    "TE with a tab before its colon": (("Transfer-Encoding\t: chunked",), b"0\r\n\r\n" + INNER),
    "TE folded": (("Transfer-Encoding:", " chunked"), b"0\r\n\r\n" + INNER),
    "TE empty": (("Transfer-Encoding:", "Content-Length: 2"), b"{}" + INNER),
    "CL twice, the same": (("Content-Length: 2", "Content-Length: 2"), b"{}" + INNER),
    "CL twice, another": (("Content-Length: 2", "Content-Length: 40"), b"{}" + INNER),
    "CL as a list": (("Content-Length: 2, 2",), b"{}" + INNER),
    "CL with a sign": (("Content-Length: +2",), b"{}" + INNER),
    "CL negative": (("Content-Length: -2",), b"{}" + INNER),
    "CL hexadecimal": (("Content-Length: 0x2",), b"{}" + INNER),
    "CL with a fraction": (("Content-Length: 2.0",), b"{}" + INNER),
    "CL with a space in it": (("Content-Length: 1 0",), b"{}" + INNER),
    "CL with a space before its colon": (("Content-Length : 2",), b"{}" + INNER),
    "CL empty": (("Content-Length:",), INNER),
    "CL a word": (("Content-Length: many",), INNER),
    "CL beyond 64 bits": (("Content-Length: 18446744073709551618",), b"{}" + INNER),
    "CL folded": (("Content-Length:", " 2"), b"{}" + INNER),
    "a folded header": (("X-Folded: a", " b"), b""),
    "a header that begins with a space": ((" X-Spaced: a",), b""),
    "a header without a colon": (("X-None",), b""),
    "a header without a name": ((": value",), b""),
    "a space in a header's name": (("X Y: a",), b""),
    "NUL in a header": (("X-Null: a\0b",), b""),
    "NUL in a header's name": (("X\0Y: a",), b""),
    "a bare CR in a header": (("X-Bare: a\rTransfer-Encoding: chunked",), b""),
    "a bare LF ends a header": (("X-Bare: a\nTransfer-Encoding: chunked",), b""),
    "a control character in a header": (("X-Control: a\x01b",), b""),
    "two Hosts": (("Host: y",), b""),
    "bad chunk size": (("Transfer-Encoding: chunked",), b"xyz\r\n{}\r\n0\r\n\r\n" + INNER),
    "negative chunk size": (("Transfer-Encoding: chunked",), b"-2\r\n{}\r\n0\r\n\r\n" + INNER),
    "chunk size with 0x": (("Transfer-Encoding: chunked",), b"0x2\r\n{}\r\n0\r\n\r\n" + INNER),
    "chunk size with an underscore": (
        ("Transfer-Encoding: chunked",),
        b"1_0\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n" + INNER,
    ),
    "chunk size beyond 64 bits": (("Transfer-Encoding: chunked",), b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n" + INNER),
    "chunk size empty": (("Transfer-Encoding: chunked",), b"\r\n{}\r\n0\r\n\r\n" + INNER),
    "chunk size with a space": (("Transfer-Encoding: chunked",), b" 2\r\n{}\r\n0\r\n\r\n" + INNER),
    "chunk longer than it says": (("Transfer-Encoding: chunked",), b"1\r\n{}\r\n0\r\n\r\n" + INNER),
    "chunk shorter than it says": (("Transfer-Encoding: chunked",), b"4\r\n{}\r\n0\r\n\r\n" + INNER),
    "chunks ended by bare LF": (("Transfer-Encoding: chunked",), b"2\n{}\n0\n\n" + INNER),
    "a bare LF in a chunk extension": (("Transfer-Encoding: chunked",), b"2;a\n{}\r\n0\r\n\r\n" + INNER),
    "a bad chunk after a good one": (("Transfer-Encoding: chunked",), b"2\r\n{}\r\nzz\r\n" + INNER),
    "NUL in a trailer": (("Transfer-Encoding: chunked",), b"2\r\n{}\r\n0\r\nX: a\0\r\n\r\n" + INNER),
}


def lines(target: Target) -> list[Attack]:
    """First lines that are odd, foreign, or none."""
    host = b"\r\nHost: x\r\n\r\n"
    bad = {
        "HTTP/0.9": b"GET /healthz\r\n\r\n",
        "HTTP/0.9 spelled out": b"GET /healthz HTTP/0.9" + host,
        "HTTP/0.9 that posts": f"POST {HOOK} HTTP/0.9\r\nContent-Length: 2\r\n\r\n{{}}".encode(),
        "HTTP/2.0": b"GET /healthz HTTP/2.0" + host,
        "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
        "HTTP/1.2": b"GET /healthz HTTP/1.2" + host,
        "HTTP/9.9": b"GET /healthz HTTP/9.9" + host,
        "HTTP/1.": b"GET /healthz HTTP/1." + host,
        "HTTP/1.10": b"GET /healthz HTTP/1.10" + host,
        "http in lower case": b"GET /healthz http/1.1" + host,
        "HTTQ": b"GET /healthz HTTQ/1.1" + host,
        "ICE": b"SOURCE /healthz ICE/1.0" + host,
        "RTSP": b"DESCRIBE /healthz RTSP/1.0" + host,
        "method in lower case": b"get /healthz HTTP/1.1" + host,
        "method unknown": b"HACK /healthz HTTP/1.1" + host,
        "method of 10,000 letters": b"G" * 10_000 + b" /healthz HTTP/1.1" + host,
        "CONNECT": b"CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n",
        "CONNECT a path": b"CONNECT /healthz HTTP/1.1" + host,
        "GET *": b"GET * HTTP/1.1" + host,
        "no path": b"GET  HTTP/1.1" + host,
        "a path without a slash": b"GET healthz HTTP/1.1" + host,
        "a space in the path": b"GET /heal thz HTTP/1.1" + host,
        "a tab in the line": b"GET\t/healthz\tHTTP/1.1" + host,
        "NUL in the path": b"GET /healthz\0 HTTP/1.1" + host,
        "bytes above ASCII in the path": b"GET /healthz\xff\xc0\xaf HTTP/1.1" + host,
        "bare LF after the line": b"GET /healthz HTTP/1.1\nHost: x\n\n",
        "bare CR after the line": b"GET /healthz HTTP/1.1\rHost: x\r\r",
        "no Host": b"GET /healthz HTTP/1.1\r\n\r\n",
        "an absolute target without a host": b"GET http:///healthz HTTP/1.1" + host,
        "an absolute target with a bad port": b"GET http://x:99999999/healthz HTTP/1.1" + host,
        "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
        "SSH": b"SSH-2.0-OpenSSH_9.6\r\n",
        "SMTP": b"EHLO example.com\r\n",
        "AMQP": b"AMQP\0\0\x09\x01",
        "a PROXY line": b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\nGET /healthz HTTP/1.1" + host,
        "an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "JSON": b'{"jsonrpc": "2.0"}\r\n\r\n',
        "10,000 NULs": b"\0" * 10_000,
    }
    refused = [Attack(name, sent, REFUSED, then="closed") for name, sent in bad.items()]
    odd = {
        "an absolute target": b"GET http://169.254.169.254/healthz HTTP/1.1" + host,
        "an absolute target with a user": b"GET http://admin:pw@127.0.0.1:1/healthz HTTP/1.1" + host,
        "a path with two slashes": b"GET //healthz HTTP/1.1" + host,
        "a fragment": b"GET /healthz#frag HTTP/1.1" + host,
        "empty lines before it": b"\r\n\r\n\r\nGET /healthz HTTP/1.1" + host,
        "OPTIONS *": b"OPTIONS * HTTP/1.1" + host,
        "TRACE": b"TRACE /healthz HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\n\r\n",
        "TRACK": b"PROPFIND /healthz HTTP/1.1" + host,
        "PUT": b"PUT /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
        "OPTIONS": b"OPTIONS /v1/documents HTTP/1.1\r\nHost: x\r\nOrigin: http://evil\r\n\r\n",
        "a websocket on /v1/documents": _upgrade("websocket", "/v1/documents"),
    }
    return [*refused, *(Attack(name, sent) for name, sent in odd.items())]


def _upgrade(to: str, path: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", "Host: x", "Connection: Upgrade", f"Upgrade: {to}", "Sec-WebSocket-Version: 13"]
    return "\r\n".join([*lines, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", ""]).encode()


def streams(target: Target) -> list[Attack]:
    """Several requests in a row, promises to send more, and offers to speak another protocol."""
    health = request("GET", "/healthz")
    guarded = request("POST", "/v1/documents", b"{}", "Content-Type: application/json")
    expecting = f"POST {HOOK} HTTP/1.1\r\nHost: x\r\nLC-Signature: {sign(EVENT)}\r\nContent-Length: {len(EVENT)}\r\n"
    chunked = f"POST {HOOK} HTTP/1.1\r\nHost: x\r\nLC-Signature: {sign(EVENT)}\r\nTransfer-Encoding: chunked\r\n"
    pieces = b"%x\r\n%s\r\n0\r\n" % (len(EVENT), EVENT)
    taken = frozenset({204})
    return [
        Attack("ten in a row", health * 10, OK, answers=10, then="served"),
        Attack("a refusal and then one", guarded + health, frozenset({401}), answers=2, then="served"),
        Attack("one and then garbage", health + b"\0garbage\r\n\r\n", OK, answers=2, then="closed"),
        Attack(
            "one and then a bad chunk", health + f"{chunked}\r\n".encode() + b"zz\r\n", OK, answers=2, then="closed"
        ),
        Attack("three, the second is garbage", health + b"nonsense\r\n\r\n" + health, OK, answers=2, then="closed"),
        Attack("one and then half a head", health + b"GET /healthz HTTP/1.1\r\nHo", OK, answers=2, then="closed"),
        Attack(
            "one and then half a body",
            health + request("POST", HOOK, EVENT, f"LC-Signature: {sign(EVENT)}")[:-3],
            OK,
            answers=2,
            then="closed",
        ),
        Attack("one that closes, and then one", request("GET", "/healthz", None, "Connection: close") + INNER, OK),
        Attack("one of HTTP/1.0, and then one", b"GET /healthz HTTP/1.0\r\n\r\n" + INNER, OK, then="closed"),
        Attack("HTTP/1.0 with chunks", b"POST /healthz HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        Attack("a refusal and then a bad chunk", _unsigned_chunks(b"zz\r\n"), frozenset({400, 401}), then="closed"),
        Attack("a refusal and later a bad chunk", [_unsigned_chunks(b"2\r\n{}\r\n"), b"zz\r\n"], then="closed"),
        Attack("HEAD", request("HEAD", "/healthz"), method="HEAD", then="served"),
        Attack("HEAD of what needs a token", request("HEAD", "/v1/documents"), method="HEAD", then="served"),
        Attack("Expect", [f"{expecting}Expect: 100-continue\r\n\r\n".encode(), EVENT], taken, then="served"),
        Attack(
            "Expect in capitals", [f"{expecting}EXPECT: 100-CONTINUE\r\n\r\n".encode(), EVENT], taken, then="served"
        ),
        Attack("Expect something else", f"{expecting}Expect: a miracle\r\n\r\n".encode() + EVENT),
        Attack("Expect twice", f"{expecting}Expect: 100-continue\r\nExpect: 100-continue\r\n\r\n".encode() + EVENT),
        Attack("Expect without a body", request("GET", "/healthz", None, "Expect: 100-continue"), OK, then="served"),
        Attack("Expect of who has no token", request("POST", "/v1/documents", b"{}", "Expect: 100-continue")),
        Attack(
            "an extension of a chunk",
            f"{chunked}\r\n".encode() + pieces.replace(b"\r\n", b";a=b\r\n", 1) + b"\r\n",
            taken,
        ),
        Attack(
            "a chunk size with zeros", f"{chunked}\r\n".encode() + b"000000" + pieces + b"\r\n", taken, then="served"
        ),
        Attack("chunks of one byte", f"{chunked}\r\n".encode() + _bytewise(EVENT) + b"0\r\n\r\n", taken, then="served"),
        Attack("trailers", f"{chunked}\r\n".encode() + pieces + b"X: y\r\nZ: w\r\n\r\n", taken, then="served"),
        Attack(
            "a signature as a trailer",
            _unsigned_chunks(pieces + f"LC-Signature: {sign(EVENT)}\r\n\r\n".encode()),
            frozenset({401}),
        ),
        Attack(
            "a token as a trailer",
            b"POST /v1/documents HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
            + f"Authorization: Bearer {target.token}\r\n\r\n".encode(),
            frozenset({401}),
        ),
        Attack("a websocket", _upgrade("websocket", "/healthz"), OK),
        Attack("HTTP/2 in the clear", _upgrade("h2c", "/healthz"), OK),
        Attack("another protocol with a body", _upgrade_with_body(), frozenset({204, 400, 401})),
    ]


def _unsigned_chunks(body: bytes) -> bytes:
    return f"POST {HOOK} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + body


def _bytewise(body: bytes) -> bytes:
    return b"".join(b"1\r\n%c\r\n" % byte for byte in body)


def _upgrade_with_body() -> bytes:
    headers = "Connection: Upgrade", "Upgrade: h2c", f"LC-Signature: {sign(EVENT)}"
    return request("POST", HOOK, EVENT, *headers)
