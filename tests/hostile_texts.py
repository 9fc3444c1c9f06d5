"""Well-formed requests with hostile words in them: signatures, JSON, ids and URLs."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from typing import Final
from uuid import UUID

from domain.signatures import job_secret, lc_signature
from tests.hostile_kit import API_KEY, EVENT, JOB, JSON_TYPE, SECRET_KEY, Attack, Target, request, sign, sign_003

REFUSED: Final = frozenset({400, 401, 403, 404, 405, 409, 413, 415, 422})
UNSIGNED: Final = frozenset({401})
HOOK: Final = f"/webhooks/llamaparse/{JOB}"
HOOKS_003: Final = ("/api/v1/webhooks/llamaparse", f"/webhook/llamaparse/{JOB}")
OTHER_JOB: Final = "7f1ed002-ab5e-4f3a-9d2c-1f0f0a0b0c0d"


def signatures(target: Target) -> list[Attack]:
    """Wrong signatures on the three webhook routes: 401, whatever is wrong."""
    found = [
        Attack(f"{name} at {path}", request("POST", path, body, *headers), UNSIGNED, then="served")
        for path, name, headers, body in [
            *((HOOK, name, headers, body) for name, headers, body in _variants("LC-Signature", "sha256=", sign(EVENT))),
            *(
                (path, name, headers, body)
                for path in HOOKS_003
                for name, headers, body in _variants("X-Webhook-Signature", "", sign_003(EVENT))
            ),
        ]
    ]
    foreign = {
        "of another job": sign(EVENT, OTHER_JOB),
        "keyed with the secret key": lc_signature(SECRET_KEY, EVENT),
        "keyed with the API key": lc_signature(API_KEY, EVENT),
        "keyed with nothing": lc_signature("", EVENT),
        "by a foreign key": lc_signature(job_secret(bytes(32), JOB), EVENT),
        "the bare digest": "sha256=" + sign_003(EVENT),
    }
    found += [Attack(name, _signed(signature), UNSIGNED, then="served") for name, signature in foreign.items()]
    return found


def _signed(signature: str) -> bytes:
    return request("POST", HOOK, EVENT, f"LC-Signature: {signature}")


def _variants(header: str, prefix: str, right: str) -> Iterator[tuple[str, tuple[str, ...], bytes]]:
    digits = right.removeprefix(prefix)
    ordered = json.dumps(json.loads(EVENT), sort_keys=True).encode()
    yield "missing", (), EVENT
    for name, value in {
        "empty": "",
        "truncated": right[:-1],
        "halved": right[:32],
        "longer": right + "0",
        "doubled in one header": f"{right}, {right}",
        "doubled after a semicolon": f"{right};{right}",
        "in capitals": prefix + digits.upper(),
        "without or with another prefix": "sha512=" + digits,
        "prefixed twice": "sha256=" * 2 + digits,
        "quoted": f'"{right}"',
        "with a digit changed": right[:-1] + ("0" if right[-1] != "0" else "1"),
        "of zeros": prefix + "0" * 64,
        "not ASCII": prefix + "é" * 64,
        "a wildcard": "*",
        "100,000 bytes short of a limit": prefix + "0" * 40_000,
    }.items():
        yield name, (f"{header}: {value}",), EVENT
    yield "twice", (f"{header}: {right}", f"{header}: {right}"), EVENT
    yield "right, then wrong", (f"{header}: {right}", f"{header}: {prefix}{'0' * 64}"), EVENT
    yield "wrong, then right", (f"{header}: {prefix}{'0' * 64}", f"{header.lower()}: {right}"), EVENT
    yield "in a header like it", (f"{header.replace('-', '_')}: {right}",), EVENT
    yield "in a cookie", (f"Cookie: {header}={right}",), EVENT
    for name, body in {
        "re-serialised": json.dumps(json.loads(EVENT), separators=(",", ":")).encode(),
        "indented": json.dumps(json.loads(EVENT), indent=1).encode(),
        "in another order": ordered,
        "with a newline": EVENT + b"\n",
        "with a space before it": b" " + EVENT,
        "with a BOM": b"\xef\xbb\xbf" + EVENT,
        "in UTF-16": EVENT.decode().encode("utf-16"),
        "as a JSON string": json.dumps(EVENT.decode()).encode(),
        "cut": EVENT[:-1],
        "empty": b"",
        "escaped": EVENT.replace(b"parse", b"\\u0070arse"),
    }.items():
        yield f"of the body {name}", (f"{header}: {right}",), body


def json_bodies(target: Target) -> list[Attack]:
    """JSON that is none, that two readers would read differently, or that is made to exhaust: 4xx, and no change."""
    return [
        Attack(f"{name} at {method} {path}", make(body), frozenset() if name in _HARMLESS else REFUSED, then="served")
        for (method, path), make in _json_routes(target).items()
        for name, body in _JSON.items()
    ]


def _json_routes(target: Target) -> dict[tuple[str, str], Callable[[bytes], bytes]]:
    def sender(method: str, path: str) -> Callable[[bytes], bytes]:
        return lambda body: request(method, path, body, JSON_TYPE, token=target.token)

    routes: dict[tuple[str, str], Callable[[bytes], bytes]] = {
        (method, path): sender(method, path)
        for method, path in [
            ("POST", "/v1/documents"),
            ("POST", "/v1/quote"),
            ("POST", "/v1/redo"),
            ("PUT", "/v1/budget"),
            ("PUT", "/v1/limits"),
            ("PUT", "/v1/mode"),
            ("POST", "/api/v2/parse"),
            ("POST", "/api/v1/beta/files/query"),
        ]
    }
    routes["POST", HOOK] = lambda body: request("POST", HOOK, body, f"LC-Signature: {sign(body)}")
    for path in HOOKS_003:
        routes["POST", path] = _sender_003(path)
    return routes


def _sender_003(path: str) -> Callable[[bytes], bytes]:
    return lambda body: request("POST", path, body, f"X-Webhook-Signature: {sign_003(body)}")


# Values stand where each route may look for them: a number, a text, an object, a list.
_NAMES: Final = [
    "daily_limit_usd",
    "pages",
    "parse",
    "mode",
    "filter",
    "file_name",
    "page_token",
    "source_url",
    "callback_url",
    "tier",
    "version",
    "file_id",
    "tags",
    "options",
    "priority",
    "document_id",
    "user_id",
    "tenant",
    "filename",
    "webhook_configurations",
    "user_metadata",
    "provenance",
    "dry_run",
    "event_id",
    "data",
    "status",
    "job_id",
    "result",
    "artifacts",
    "error",
]


def _everywhere(value: str) -> bytes:
    return ("{" + ", ".join(f'"{name}": {value}' for name in _NAMES) + "}").encode()


_JSON: Final[dict[str, bytes]] = {
    "nothing": b"",
    "a space": b" ",
    "half an object": b'{"a": ',
    "two values": b"{} {}",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "a text": b'"x"',
    "a text of a text of an object": json.dumps(json.dumps("{}")).encode(),
    "1e999": _everywhere("1e999"),
    "-1e999": _everywhere("-1e999"),
    "NaN": _everywhere("NaN"),
    "Infinity": _everywhere("-Infinity"),
    "an integer of 100,000 digits": b'{"pages": ' + b"9" * 100_000 + b"}",
    "a fraction of 50,000 digits": b'{"pages": 1.' + b"9" * 50_000 + b"e999999999}",
    "beyond 64 bits": _everywhere("9223372036854775808"),
    "depth 100,000 of lists": b"[" * 100_000 + b"]" * 100_000,
    "depth 100,000, never closed": b"[" * 100_000,
    "depth 50,000 of objects": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "depth 65": b'{"options":' + b"[" * 65 + b"]" * 65 + b"}",
    "the same name twice": b'{"mode": "mock", "mode": "real", "daily_limit_usd": 1, "daily_limit_usd": 2}',
    "the same name twice, deep": b'{"options": {"a": 1, "a": 2}, "data": {"a": 1, "\\u0061": 2}}',
    "a lone surrogate": _everywhere('"\\ud800"'),
    "a lone surrogate as a name": b'{"\\udfff": 1}',
    "NUL": _everywhere('"a\\u0000b"'),
    "NUL itself": b'{"a": "\0"}',
    "invalid UTF-8": b'{"a": "\xff\xfe"}',
    "overlong UTF-8": b'{"a": "\xc0\xaf"}',
    "a surrogate in UTF-8": b'{"a": "\xed\xa0\x80"}',
    "Latin-1": '{"a": "é"}'.encode("latin-1"),
    "a BOM": b'\xef\xbb\xbf{"mode": "mock"}',
    "UTF-16 with a BOM": '{"mode": "mock"}'.encode("utf-16"),
    "UTF-16": '{"mode": "mock"}'.encode("utf-16-le"),
    "UTF-32": '{"mode": "mock"}'.encode("utf-32"),
    "UTF-7": b"+AHsAfQ-",
    "a comment": b'{"mode": "mock" /* x */}',
    "a comma too many": b'{"mode": "mock",}',
    "a proto": b'{"__proto__": {"admin": true}, "constructor": {"prototype": {}}}',
    "a YAML": b"!!python/object/apply:os.system ['id']",
    "a pickle": b"\x80\x04\x95\x1a\0\0\0\0\0\0\0\x8c\x05posix",
    "an XML": b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>&b;</a>',
    "60,000 names": ("{" + ",".join(f'"{n}":0' for n in range(60_000)) + "}").encode(),
}


_HARMLESS: Final = ("a proto", "60,000 names")
"""What a route that looks for other names may take."""


def ids(target: Target) -> list[Attack]:
    """Ids that lead elsewhere, or are none: refused, and never a file of ours."""
    found: list[Attack] = []
    for method, template in _ID_ROUTES:
        for name, said in _IDS.items():
            path = template.replace("{}", said)
            body = b"{}" if method == "POST" else None
            sent = request(method, path, body, f"LC-Signature: {sign(b'{}')}", token=target.token)
            found.append(Attack(f"{name} at {method} {template}", sent, REFUSED))
    return found


_ID_ROUTES: Final = (
    *(("GET", "/v1/documents/{}" + rest) for rest in ("", "/result", "/result?format=json", "/events", "/erasure")),
    *(("POST", "/v1/documents/{}" + rest) for rest in ("/cancel", "/retry")),
    ("DELETE", "/v1/documents/{}"),
    ("GET", "/v1/batches/{}"),
    ("POST", "/v1/batches/{}/cancel"),
    ("DELETE", "/api/v2/parse/{}"),
    *(("POST", path) for path in ("/v1/deliveries/{}/redeliver", "/v1/endpoints/{}/enable")),
    ("POST", "/v1/drifts/{}/explain"),
    ("GET", "/api/v2/parse/{}"),
    ("GET", "/api/v2/parse/{}?expand=markdown"),
    ("POST", "/api/v2/parse/{}/cancel"),
    ("GET", "/api/v1/beta/files/{}"),
    ("GET", "/api/v1/beta/files/{}/content"),
    ("DELETE", "/api/v1/beta/files/{}"),
    ("GET", "/downloads/file/{}?ends=99999999999&signature=0"),
    ("GET", "/downloads/{}/" + JOB),
    ("POST", "/webhooks/llamaparse/{}"),
    ("POST", "/webhook/llamaparse/{}"),
)
_IDS: Final[dict[str, str]] = {
    "dots": "..",
    "encoded dots": "%2e%2e",
    "encoded dots and slashes": "%2e%2e%2f%2e%2e%2fdata%2fsecret-key",
    "half encoded": ".%2e/.%2e/data/secret-key",
    "encoded twice": "%252e%252e%252fdata%252fsecret-key",
    "encoded backslashes": "..%5c..%5cdata%5csecret-key",
    "overlong UTF-8": "%c0%ae%c0%ae%c0%afdata",
    "overlong UTF-8 of three bytes": "%e0%80%ae%e0%80%ae%e0%80%af",
    "fullwidth dots": "%ef%bc%8e%ef%bc%8e%ef%bc%8fdata",
    "an absolute path": "%2fetc%2fpasswd",
    "a file URL": "file:%2f%2f%2fetc%2fpasswd",
    "NUL": "%00",
    "NUL after an id": f"{JOB}%00.json",
    "a newline after an id": f"{JOB}%0a",
    "CRLF and a header": f"{JOB}%0d%0aX-Injected:%20yes",
    "a slash after an id": f"{JOB}%2f..%2f..",
    "a parameter after an id": f"{JOB};a=b",
    "a lone surrogate": "%ed%a0%80",
    "invalid UTF-8": "%ff%fe",
    "a broken escape": "%zz%",
    "arabic digits": "%d9%a1" * 32,
    "arabic digits with dashes": "-".join("%d9%a1" * size for size in (8, 4, 4, 4, 12)),
    "fullwidth digits": "%ef%bc%91" * 36,
    "an id of underscores": "1_1_1_1_-1111-1111-1111-1111_1111111",
    "a URN": f"urn:uuid:{JOB}",
    "an id of zeros": str(UUID(int=0)),
    "in braces": "{" + JOB + "}",
    "SQL": "1'%20OR%20'1'='1",
    "SQL after an id": f"{JOB}'--",
    "a format": "%25s%25n%7B0.__class__%7D",
    "a script": "%3Cscript%3Ealert(1)%3C%2Fscript%3E",
    "20,000 characters": "a" * 20_000,
    "10,000 folders": "a/" * 10_000,
    "minus one": "-1",
    "beyond 64 bits": "99999999999999999999",
}


def queries(target: Target) -> list[Attack]:
    """Parameters of lists and of tokens of pages, with hostile values: whatever it is, it is answered below 500."""
    return [
        Attack(f"{name} at {template}", request("GET", template.replace("{}", said), token=target.token))
        for template in _QUERIES
        for name, said in _VALUES.items()
    ]


_QUERIES: Final = (
    "/v1/documents?q={}",
    "/v1/documents?state={}",
    "/v1/documents?limit={}",
    "/v1/documents?cursor={}",
    "/v1/documents?document_id={}",
    "/v1/documents?tenant={}",
    "/v1/documents?{}=1",
    "/v1/usage?by={}",
    "/v1/usage?since={}&until={}",
    "/v1/drifts?limit={}&cursor={}",
    "/v1/webhooks/rejected?limit={}",
    "/api/v2/parse?page_size={}",
    "/api/v2/parse?page_token={}",
    "/api/v2/parse?job_ids={}",
    "/api/v2/parse?created_at_on_or_after={}",
    "/api/v1/beta/files?page_token={}",
    "/api/v1/beta/files?order_by=name&page_token={}",
    "/api/v1/beta/files?order_by=id&page_token={}",
    "/api/v1/beta/files?file_name={}",
    "/api/v1/beta/files?external_file_id={}&file_ids={}",
    "/downloads/file/" + JOB + "?ends={}&signature={}",
)


def _token_of(value: str) -> str:
    return urlsafe_b64encode(value.encode()).decode()


_VALUES: Final[dict[str, str]] = {
    "nothing": "",
    "NUL": "%00",
    "a lone surrogate": "%ed%a0%80",
    "invalid UTF-8": "%ff",
    "a percent sign": "%",
    "a wildcard": "%25%5c_%25",
    "minus one": "-1",
    "zero": "0",
    "arabic digits": "%d9%a1",
    "a superscript": "%c2%b2",
    "beyond 64 bits": "99999999999999999999",
    "5,000 digits": "9" * 5_000,
    "1e999": "1e999",
    "NaN": "NaN",
    "SQL": "'%20OR%201=1--",
    "the year 0": "0000-00-00T00:00:00Z",
    "the year 1, elsewhere": "0001-01-01T00:00:00%2b14:00",
    "the year 9999, elsewhere": "9999-12-31T23:59:59-14:00",
    "an odd zone": "2026-01-01T00:00:00%2b99:99",
    "10,000 characters": "a" * 10_000,
    "10,000 commas": "," * 10_000,
    "the same twice": "a&q=b&state=b&limit=2&cursor=b&page_token=b&page_size=2",
    "a deep token": _token_of("[" * 20_000),
    "a token with half a pair": _token_of('["name", "\\ud800", "' + JOB + '"]'),
    "a token with NUL": _token_of('["name", "\\u0000", "' + JOB + '"]'),
    "a token of another kind": _token_of('["id", {"a": 1}, ["' + JOB + '"]]'),
    "a token of a number": _token_of('["created_at", "2026", 7]'),
    "a token of the year 1": _token_of('["created_at", "0001-01-01T00:00:00+14:00", "' + JOB + '"]'),
    "a cursor of the year 1": _token_of("0001-01-01T00:00:00+14:00 " + JOB),
    "a cursor of the year 9999": _token_of("9999-12-31T23:59:59-14:00 " + JOB),
    "a cursor without a zone": _token_of("2026-01-01T00:00:00 " + JOB),
    "base64 of nothing": "====",
}


def headers(target: Target) -> list[Attack]:
    """Headers that the application itself reads, with hostile values."""
    return [
        Attack(f"{name}: {said[:20]!r} ({place})", request("GET", path, None, f"{name}: {said}", token=target.token))
        for name, values in _HEADERS.items()
        for place, (path, said) in enumerate((path, said) for path in _HEADER_PATHS for said in values)
    ]


_HEADER_PATHS: Final = ("/v1/documents", f"/api/v1/beta/files/{JOB}/content", "/metrics")
_HEADERS: Final[dict[str, tuple[str, ...]]] = {
    "Accept": ("", "*", "a/b;q=x", "," * 5_000, "text/html;" * 3_000),
    "Accept-Encoding": ("gzip;q=1e999", "\xff"),
    "Content-Type": ("", "multipart/form-data", "a" * 30_000, "application/json; charset=utf-7", "\xe9"),
    "Correlation-Id": ("", "\xff", "x" * 30_000, "{" + JOB + "}"),
    "Cookie": ("a=b; " * 5_000, "\xff=\xfe", ";=;"),
    "Range": ("bytes=-", "bytes=0-99999999999999999999", "bytes=" + "0-1," * 5_000),
    "If-None-Match": ('"', "W/" * 5_000, "*"),
    "If-Range": ("\xff",),
    "If-Modified-Since": ("yesterday", "Thu, 99 Foo 99999 99:99:99 GMT"),
    "Date": ("never",),
    "Forwarded": ("for=\xff;host=[", ";" * 5_000),
    "X-Forwarded-For": ("\xff", "127.0.0.1, " * 3_000, "[::1"),
    "X-Forwarded-Proto": ("gopher", "\xff"),
    "X-Forwarded-Host": ("evil:abc", "\xff"),
    "X-HTTP-Method-Override": ("DELETE",),
    "Idempotency-Key": ("", "\xff", "x" * 5_000),
    "x-stainless-retry-count": ("9" * 5_000, "\xb2", "-1"),
    "Authorization": ("Bearer", "Basic Og==", "Bearer \xff", "Bearer " + "x" * 30_000, "Bearer a b"),
    "Via": ("1.1 " + "x" * 20_000,),
}


def hosts(target: Target) -> list[Attack]:
    """`Host` headers, which go into links: malformed ones are refused."""
    values = [
        "x:abc",
        "x:999999",
        "[::1",
        "::1",
        "x y",
        "x/..",
        "x@y",
        "\xff",
        "x:80:90",
        "http://x",
        "x?y",
        "x#y",
    ]
    path = f"/api/v1/beta/files/{JOB}/content"
    return [
        Attack(
            f"Host {value!r}",
            f"GET {path} HTTP/1.1\r\nHost: {value}\r\nAuthorization: Bearer {target.token}\r\n\r\n".encode("latin-1"),
            frozenset({400}),
        )
        for value in values
    ]
