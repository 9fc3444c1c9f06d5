"""URLs that lead to private places, or nowhere, in every spelling that a resolver somewhere understands."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from tests.hostile_forms import END, FILE, part
from tests.hostile_kit import JSON_TYPE, Attack, Target, request


def urls(target: Target) -> list[Attack]:
    """Private places in every spelling, wherever a stranger may name a URL: 422."""
    found: list[Attack] = []
    for place, (path, make) in _URL_PLACES.items():
        for url in URLS:
            body = json.dumps(make(url)).encode()
            sent = request("POST", path, body, JSON_TYPE, token=target.token)
            # A NUL is no JSON that is let in, whoever looks at the URL.
            found.append(Attack(f"{url!r} as {place}", sent, frozenset({400, 422}), then="served"))
    for place, (path, field) in _FORM_PLACES.items():
        for url in URLS:
            body = part(f'Content-Disposition: form-data; name="{field[0]}"', field[1](url).encode()) + FILE + END
            sent = request("POST", path, body, "Content-Type: multipart/form-data; boundary=b", token=target.token)
            found.append(Attack(f"{url!r} as {place}", sent, frozenset({400, 422}), then="served"))
    return found


_PARSE: Final = {"tier": "cost_effective", "version": "latest"}
_PUBLIC: Final = "http://192.88.98.1/a.pdf"
_URL_PLACES: Final[dict[str, tuple[str, Callable[[str], dict[str, Any]]]]] = {
    "source_url": ("/v1/documents", lambda url: {"source_url": url}),
    "callback_url": ("/v1/documents", lambda url: {"source_url": _PUBLIC, "callback_url": url}),
    "callback_url of a quote": ("/v1/quote", lambda url: {"pages": 1, "callback_url": url}),
    "source_url of a quote": ("/v1/quote", lambda url: {"pages": 1, "source_url": url}),
    "LlamaCloud's source_url": ("/api/v2/parse", lambda url: {**_PARSE, "source_url": url}),
    "LlamaCloud's webhook_url": (
        "/api/v2/parse",
        lambda url: {**_PARSE, "source_url": _PUBLIC, "webhook_configurations": [{"webhook_url": url}]},
    ),
}
_FORM_PLACES: Final[dict[str, tuple[str, tuple[str, Callable[[str], str]]]]] = {
    "a form's callback_url": ("/v1/documents", ("callback_url", lambda url: url)),
    "a quote's callback_url in a form": ("/v1/quote", ("callback_url", lambda url: url)),
    "an upload's webhook_url": (
        "/api/v2/parse/upload",
        (
            "configuration",
            lambda url: json.dumps({**_PARSE, "webhook_configurations": [{"webhook_url": url}]}),
        ),
    ),
}
_LOOPBACK: Final = [
    "127.0.0.1",
    "127.1",
    "127.0.1",
    "127.255.255.254",
    "2130706433",
    "017700000001",
    "0x7f000001",
    "0x7f.1",
    "0x7f.0.0.1",
    "0x7F.0x0.0x0.0x1",
    "0177.0.0.1",
    "0177.0.0.01",
    "127.0.0.1.",
    "127.0.0.0x1",
    "0",
    "0.0.0.0",
    "0.0.0.0.",
    "00000000",
    "localhost",
    "LOCALHOST",
    "localhost.",
    "a.localhost",
    "localhost.localdomain%00",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:7f00:1::1]",
    "[2001:0:7f00:1::]",
    "[::1%25lo]",
    "[::1%lo]",
    "[fe80::1%25eth0]",
    "[::ffff:0:7f00:1]",
    "%31%32%37.0.0.1",
    "127%2e0%2e0%2e1",
    "loc%61lhost",
    "127。0。0。1",
    "127．0．0．1",
    "127｡0｡0｡1",
    "１２７.0.0.1",
    "①②⑦.⓪.⓪.①",
    "ⓛocalhost",
    "ｌｏｃａｌｈｏｓｔ",
    "127.0.0.1:80",
    "127.0.0.1:00080",
    "0x100000000000000007f000001",
    "18446744071562067969",
    "127.0.0.1:0",
    "[::ffff:127.0.0.1]:80",
    "127.0.0.1%20",
    "127.0.0.1%00.example.com",
    "127.0.0.1\\@example.com",
]
_METADATA: Final = [
    "169.254.169.254",
    "169.254.43518",
    "2852039166",
    "0xa9fea9fe",
    "0xA9.0xFE.0xA9.0xFE",
    "0251.0376.0251.0376",
    "025177524776",
    "169.254.169.254.",
    "[::ffff:169.254.169.254]",
    "[::ffff:a9fe:a9fe]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "[::a9fe:a9fe]",
    "[fd00:ec2::254]",
    "169。254。169。254",
    "１６９.２５４.１６９.２５４",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "169.254.170.2",
    "169.254.169.253",
]
_PRIVATE: Final = [
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "[fc00::1]",
    "[fec0::1]",
    "[ff02::1]",
]
URLS: Final = (
    *(f"http://{host}/a.pdf" for host in (*_LOOPBACK, *_METADATA, *_PRIVATE)),
    "http://good@127.0.0.1/",
    "http://example.com@169.254.169.254/",
    "http://example.com:80@127.0.0.1/",
    "http://127.0.0.1@example.com/",
    "http://example.com\\@127.0.0.1/",
    "http:\\\\127.0.0.1\\a",
    "http:/127.0.0.1/",
    "http:127.0.0.1/",
    "http:///127.0.0.1/",
    "//127.0.0.1/",
    "\thttp://127.0.0.1/",
    "http://127.0.0.1\t/",
    "http://\r\n127.0.0.1/",
    "http://[::1/",
    "http://[127.0.0.1]/",
    "http://example.com:99999/",
    "file:///etc/passwd",
    "FILE:///etc/passwd",
    "file://localhost/etc/passwd",
    "gopher://127.0.0.1:6379/_FLUSHALL",
    "dict://127.0.0.1:11211/stat",
    "ftp://127.0.0.1/",
    "ldap://127.0.0.1/",
    "jar:http://127.0.0.1!/",
    "data:text/plain,x",
    "javascript:alert(1)",
    "memory://x",
    "s3://bucket/key",
    "unix:///var/run/docker.sock",
    "http+unix://%2fvar%2frun%2fdocker.sock/",
    "/etc/passwd",
    "..",
    "http://",
    "http://a..b/",
    "http://" + "a" * 4_000,
    "http://" + "a." * 200 + "com/",
    "http://x\u0000y/",
)
