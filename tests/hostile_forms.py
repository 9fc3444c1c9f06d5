"""Forms that are none, that lie, or that hide what they carry."""

from __future__ import annotations

from typing import Final

from tests.hostile_kit import Attack, Target, request

ROUTES: Final = ("/v1/documents", "/v1/quote", "/api/v2/parse/upload", "/api/v1/beta/files")
REFUSED: Final = frozenset({400, 413, 415, 422})
NOTE: Final = b"A note."


def part(headers: str, content: bytes = NOTE, boundary: str = "b") -> bytes:
    """One part, headers as they are."""
    return f"--{boundary}\r\n{headers}\r\n\r\n".encode("latin-1") + content + b"\r\n"


def file_part(extra: str = '; filename="a.txt"', content: bytes = NOTE) -> bytes:
    """The part with the document."""
    return part(f'Content-Disposition: form-data; name="file"{extra}', content)


END: Final = b"--b--\r\n"
FILE: Final = file_part()


def forms(target: Target) -> list[Attack]:
    """Malformed and lying forms on every route that takes one: refused, with the file already read or not."""
    found: list[Attack] = []
    for path in ROUTES:
        for name, body in _FORMS.items():
            found.append(Attack(f"{name} at {path}", _posted(target, path, body), REFUSED))
        for name, (content_type, body) in _TYPES.items():
            found.append(Attack(f"{name} at {path}", _posted(target, path, body, content_type), REFUSED))
        for name, body in _ODD.items():
            # What the document is called is nobody's harm, if its name goes nowhere.
            found.append(Attack(f"{name} at {path}", _posted(target, path, body), then="served"))
    return found


def _posted(target: Target, path: str, body: bytes, content_type: str = "multipart/form-data; boundary=b") -> bytes:
    return request("POST", path, body, f"Content-Type: {content_type}", token=target.token)


def lies(target: Target) -> list[Attack]:
    """Lengths that are not those of the body, on every route that reads one: each is answered, in time."""
    found: list[Attack] = []
    for path in ROUTES:
        head = (
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {target.token}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\n"
        )
        whole = FILE + END
        for name, (length, sent) in {
            "longer than it is": (len(whole) + 1000, whole),
            "as long as may be": (10**18 - 1, whole),
            "1 MB of a silent sender": (1_000_000, b""),
            "shorter than it is": (len(whole) - 20, whole),
            "a byte": (1, whole),
            "nothing": (0, whole),
        }.items():
            lie = f"{head}Content-Length: {length}\r\n\r\n".encode() + sent
            found.append(Attack(f"{name} at {path}", lie, REFUSED | {408}, may_be_silent=False))
        chunked = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()
        endless = b"%x\r\n%s\r\n" % (len(whole), whole)
        found.append(Attack(f"chunks without an end at {path}", chunked + endless, REFUSED | {408, 200, 202}))
        found.append(Attack(f"half a chunk at {path}", chunked + endless[:40], REFUSED | {408}))
        trailer = endless + b"0\r\nX-Trailer: " + b"a" * 400_000
        found.append(Attack(f"an endless trailer at {path}", chunked + trailer, may_be_silent=True))
        extension = b"5;" + b"a" * 400_000
        found.append(Attack(f"an endless extension of a chunk at {path}", chunked + extension, may_be_silent=True))
    return found


_TEXT: Final = 'Content-Disposition: form-data; name="tier"'
_FORMS: Final[dict[str, bytes]] = {
    "nothing": b"",
    "no part": END,
    "no end": FILE,
    "an end broken off": FILE + b"--b",
    "half a part": FILE[: len(FILE) // 2],
    "half a part's headers": b"--b\r\nContent-Dispo",
    "another boundary": (FILE + END).replace(b"--b", b"--c"),
    "a boundary without its dashes": (FILE + END).replace(b"--b", b"b"),
    "lines ended by LF": (FILE + END).replace(b"\r\n", b"\n"),
    "no empty line": b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n' + END,
    "no disposition": part("Content-Type: text/plain") + END,
    "no header": b"--b\r\n\r\n\r\nA note.\r\n" + END,
    "a disposition that is no form's": part('Content-Disposition: attachment; filename="a.txt"') + END,
    "a disposition without a name": part('Content-Disposition: form-data; filename="a.txt"') + END,
    "a name that is not UTF-8": part('Content-Disposition: form-data; name="\xff\xfe"') + END,
    "a name with NUL": part('Content-Disposition: form-data; name="ti\0er"') + END,
    "a charset that is none": part('Content-Disposition: form-data; name="_charset_"', b"rot13") + FILE + END,
    "a part's header of 100,000 bytes": part(f"{_TEXT}\r\nX: {'a' * 100_000}", b"fast") + FILE + END,
    "10,000 headers of a part": part(_TEXT + "\r\nX: y" * 10_000, b"fast") + FILE + END,
    "a field of 100,000 bytes": part(_TEXT, b"a" * 100_000) + FILE + END,
    "a field that is not UTF-8": part(_TEXT, b"\xff\xfe") + FILE + END,
    "a field with NUL": part(_TEXT, b"fa\0st") + FILE + END,
    "an unknown field": part('Content-Disposition: form-data; name="__class__"') + FILE + END,
    "a field that is deep JSON": part('Content-Disposition: form-data; name="options"', b"[" * 60_000) + FILE + END,
    "5,000 parts": part(_TEXT, b"x") * 5_000 + FILE + END,
    "5,000 empty parts": b"--b\r\n\r\n\r\n" * 5_000 + END,
    "an empty file": file_part(content=b"") + END,
    "an encoding that is none": part(
        'Content-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Transfer-Encoding: base64', b"QQ=="
    )
    + END,
    "a form in a form": part(
        'Content-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: multipart/mixed; boundary=c',
        b"--c\r\nContent-Disposition: attachment\r\n\r\nx\r\n--c--",
    )
    + b"--b\r\n",
}
_TYPES: Final[dict[str, tuple[str, bytes]]] = {
    "no boundary": ("multipart/form-data", FILE + END),
    "an empty boundary": ("multipart/form-data; boundary=", FILE + END),
    "an empty quoted boundary": ('multipart/form-data; boundary=""', FILE + END),
    "a boundary of 2 kB": (f"multipart/form-data; boundary={'b' * 2_000}", FILE + END),
    "a boundary of a space": ('multipart/form-data; boundary=" "', FILE + END),
    "a boundary that is not ASCII": ("multipart/form-data; boundary=\xff", FILE + END),
    "a boundary that is never closed": ('multipart/form-data; boundary="b', FILE[:-2]),
    "two boundaries": ("multipart/form-data; boundary=c; boundary=d", FILE + END),
    "another multipart": ("multipart/mixed; boundary=b", FILE + END),
    "a form that is none": ("application/x-www-form-urlencoded", b"file=" + b"a" * 10_000),
    "an encoded form": ("multipart/form-data", b"--b"),
    "no type": ("", FILE + END),
}
_ODD: Final[dict[str, bytes]] = {
    "a filename that climbs": file_part('; filename="../../../../tmp/hostile-climbed.txt"') + END,
    "a filename that climbs backwards": file_part('; filename="..\\..\\hostile-climbed.txt"') + END,
    "an absolute filename": file_part('; filename="/tmp/hostile-climbed.txt"') + END,
    "an encoded filename": file_part("; filename*=UTF-8''..%2f..%2fhostile-climbed.txt") + END,
    "an encoded filename in an odd charset": file_part("; filename*=zlib''x%00") + END,
    "an encoded filename that is broken": file_part("; filename*=''") + END,
    "a filename with NUL": file_part('; filename="a.txt\0.pdf"') + END,
    "a filename with CR": file_part('; filename="a\r.pdf"') + END,
    "a filename of 6,000 characters": file_part(f'; filename="{"a" * 6_000}.pdf"') + END,
    "a filename that is not UTF-8": file_part('; filename="\xff\xfe"') + END,
    "a filename of dots": file_part('; filename=".."') + END,
    "an empty filename": file_part('; filename=""') + END,
    "two filenames": file_part('; filename="a.txt"; filename="../b.txt"') + END,
    "a name twice": part('Content-Disposition: form-data; name="file"; name="tier"; filename="a"') + END,
    "a disposition twice": part(f'{_TEXT}\r\nContent-Disposition: form-data; name="file"; filename="a"') + END,
    "something before the first part": b"preamble\r\n" + FILE + END,
    "something after the end": FILE + END + b"epilogue" * 1_000,
    "two ends": FILE + END + END + FILE,
    "a file that looks like its end": file_part(content=b"\r\n--b-\r\n--\r\n-b--") + END,
}
