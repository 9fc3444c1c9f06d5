"""What strangers name leads to nothing private, however it is spelled and whatever its name resolves to."""

from __future__ import annotations

from collections.abc import Sequence

import httpx
import pytest

from domain.errors import BadSetting, OrderRefused
from llamaparse.address_guard import AddressGuard, check_url
from llamaparse.transport import Resolver, guarded_client
from tests.raw_server import RawServer, answering, reply

PRIVATE_URLS = [
    "http://localhost",
    "http://LOCALHOST:9000/x",
    "http://localhost.",
    "http://a.localhost",
    "http://127.0.0.1",
    "http://127.0.0.1.",
    "http://127.1",
    "http://0x7f000001",
    "http://0x7f.1",
    "http://017700000001",
    "http://2130706433",
    "http://127。0。0。1",
    "http://0",
    "http://0.0.0.0",
    "http://10.1.2.3",
    "http://172.16.0.1",
    "http://192.168.0.1",
    "http://100.64.0.1",
    "http://100.100.100.200",
    "http://169.254.169.254/latest/meta-data",
    "http://168.63.129.16",
    "http://192.0.0.192",
    "http://198.18.0.1",
    "http://192.0.2.1",
    "http://224.0.0.1",
    "http://240.0.0.1",
    "http://255.255.255.255",
    "http://[::1]",
    "http://[::]",
    "http://[::ffff:127.0.0.1]",
    "http://[::ffff:7f00:1]",
    "http://[::ffff:a9fe:a9fe]",
    "http://[::127.0.0.1]",
    "http://[64:ff9b::7f00:1]",
    "http://[64:ff9b::10.0.0.1]",
    "http://[64:ff9b:1::7f00:1]",
    "http://[2002:7f00:1::]",
    "http://[2002:a00:1::1]",
    "http://[2001::1]",
    "http://[2001:db8::1]",
    "http://[fe80::1]",
    "http://[fe80::1%25eth0]",
    "http://[fc00::1]",
    "http://[fd00:ec2::254]",
    "http://[fec0::1]",
    "http://[ff02::1]",
]
MALFORMED_URLS = [
    "",
    "x",
    "//host/x",
    "http://",
    "http:///x",
    "http:127.0.0.1",
    "ftp://example.com/x",
    "file:///etc/passwd",
    "gopher://example.com",
    "javascript:alert(1)",
    "http://good@127.0.0.1",
    "http://user:password@example.com",
    "http://example.com\\@127.0.0.1/",
    "http://0177.0.0.1",
    "http://18446744071562067969",
    "http://0x100000000000000007f000001",
    "http://127.0.0.0.1",
    "http://example.1",
    "http://example.0x7f.",
    "http://①②⑦.0.0.1",
    "http://%31%32%37.0.0.1",
    "http://loc%61lhost",
    "http://ex ample.com",
    "http://a..b",
    "http://example.com:0",
    "http://example.com:99999",
    "http://exa\nmple.com",
    "http://[::1",
    "http://" + "a" * 70_000,
]
PUBLIC_URLS = [
    "http://example.com",
    "https://EXAMPLE.com.:8443/a?b#@127.0.0.1",
    "https://93.184.216.34/x",
    "https://[2606:4700::1111]/",
    "https://[64:ff9b::8.8.8.8]/",
    "https://[2002:808:808::1]/",
    "https://bücher.example/",
    "https://localhost.example.com/",
    "https://under_score.example.com/",
]


@pytest.mark.parametrize("url", PRIVATE_URLS + MALFORMED_URLS)
def test_a_bad_url_is_refused_early(url: str) -> None:
    with pytest.raises(OrderRefused) as caught:
        check_url(url)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", PUBLIC_URLS)
def test_a_public_url_is_let_through(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://localhost:9009", ["localhost"]),
        ("http://LocalHost.", ["localhost"]),
        ("http://localhost", ["127.0.0.1"]),
        ("http://127.0.0.1:80", ["127.0.0.0/8"]),
        ("http://127.1", ["127.0.0.1"]),
        ("http://[::1]", ["[::1]"]),
        ("http://[::ffff:10.0.0.1]", ["10.0.0.0/8"]),
        ("http://10.0.0.1", ["", " 10.0.0.1 "]),
        ("http://[fd12::1]", ["fd00::/8"]),
    ],
)
def test_an_allowed_private_url_is_let_through(url: str, allowed: list[str]) -> None:
    with pytest.raises(OrderRefused):
        check_url(url)
    check_url(url, allowed)


def test_an_allowance_opens_nothing_else() -> None:
    for url in ["http://10.0.1.1", "http://localhost", "http://[::1]"]:
        with pytest.raises(OrderRefused):
            check_url(url, ["10.0.0.0/24", "intranet"])


@pytest.mark.parametrize("entry", ["10.0.0.0/99", "a b", "http://x", "host:80"])
def test_a_malformed_allowance_is_a_bad_setting(entry: str) -> None:
    with pytest.raises(BadSetting, match="PARSEGATE_PRIVATE_HOSTS"):
        AddressGuard([entry])


def fixed(*addresses: str) -> Resolver:
    return lambda host, port: addresses


def guarded(resolve: Resolver, allowed: Sequence[str] = ()) -> httpx.Client:
    return guarded_client(allowed, timeout=httpx.Timeout(2), resolve=resolve)


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:127.0.0.1", "169.254.169.254", "fe80::1%1"]
)
def test_a_name_that_resolves_to_a_private_address_is_refused(address: str) -> None:
    with RawServer(answering(reply())) as server, guarded(fixed(address)) as client:
        with pytest.raises(OrderRefused, match="PARSEGATE_PRIVATE_HOSTS"):
            client.get(f"http://innocent.test:{server.port}")
        assert server.connections == 0


def test_a_private_literal_is_refused_at_the_connection_too() -> None:
    with RawServer(answering(reply())) as server, guarded(fixed("127.0.0.1")) as client:
        with pytest.raises(OrderRefused):
            client.get(server.url)
        assert server.connections == 0


def test_it_connects_to_the_address_that_was_checked() -> None:
    """A name that answers otherwise the second time is never asked a second time."""
    answers = iter([["127.0.0.1"], ["10.9.9.9"]])
    with RawServer(answering(reply(200, "x"))) as server:
        with guarded(lambda host, port: next(answers), ["127.0.0.1"]) as client:
            response = client.get(f"http://rebound.test:{server.port}")
        assert response.text == "x"
        assert server.requests[0].headers["host"] == f"rebound.test:{server.port}"
        assert next(answers) == ["10.9.9.9"]


def test_of_several_addresses_only_good_ones_are_tried() -> None:
    """127.0.0.2 is allowed, though nobody is there; 127.0.0.1 is not, though it would answer."""
    client = guarded(fixed("127.0.0.1", "127.0.0.2"), ["127.0.0.2"])
    with RawServer(answering(reply(200, "x"))) as server, client:
        with pytest.raises(httpx.ConnectError):
            client.get(f"http://several.test:{server.port}")
        assert server.connections == 0


def test_an_allowed_name_may_lead_anywhere() -> None:
    with RawServer(answering(reply(200, "x"))) as server, guarded(fixed("127.0.0.1"), ["Intranet.test."]) as client:
        assert client.get(f"http://intranet.test.:{server.port}").text == "x"


def test_the_url_is_checked_again_when_it_is_fetched() -> None:
    with RawServer(answering(reply())) as server, guarded(fixed("127.0.0.1"), ["127.0.0.1"]) as client:
        with pytest.raises(OrderRefused, match="user name"):
            client.get(f"http://user@name.test:{server.port}")
        with pytest.raises(OrderRefused, match="http://"):
            client.get("ftp://name.test")
        assert server.connections == 0


def test_a_redirect_is_not_followed() -> None:
    redirect = reply(302, "", headers={"Location": "http://169.254.169.254/"})
    with RawServer(answering(redirect)) as server, guarded(fixed("127.0.0.1"), ["127.0.0.1"]) as client:
        assert client.get(server.url).status_code == 302
        assert len(server.requests) == 1


def test_the_environment_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    with RawServer(answering(reply(200, "x"))) as server, guarded(fixed("127.0.0.1"), ["127.0.0.1"]) as client:
        assert client.get(server.url).text == "x"


def test_cookies_are_not_kept() -> None:
    with RawServer(answering(reply(200, "x", headers={"Set-Cookie": "a=b"}))) as server:
        with guarded(fixed("127.0.0.1"), ["127.0.0.1"]) as client:
            client.get(server.url)
            client.get(server.url)
        assert "cookie" not in server.requests[1].headers
