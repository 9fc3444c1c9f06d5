"""Small PDFs that ask for far more memory and time than a document may; more of them are in `tests.bombs`."""

from __future__ import annotations

import zlib

PAGE = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Resources<</XObject<</X 5 0 R>>>>/Contents 4 0 R>>"
MEGABYTE = 1024 * 1024


def nested_forms(depth: int = 9, calls: int = 10) -> bytes:
    """One page whose forms draw each other, `calls` times a level: a text object for each of calls ** depth."""
    draw = b"/X Do " * calls
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Count 1/Kids[3 0 R]>>", PAGE, stream(b"", draw)]
    for number in range(5, 5 + depth):
        resources = b"/Resources<</XObject<</X %d 0 R>>/Font<</F<</Type/Font/Subtype/Type1" % (number + 1)
        form = b"/Type/XObject/Subtype/Form/BBox[0 0 99 99]" + resources + b"/BaseFont/Helvetica>>>>>>"
        objects.append(stream(form, draw if number < 4 + depth else b"BT /F 9 Tf (abc) Tj ET"))
    return pdf_of(*objects)


def packed_catalog(megabytes: int = 1000) -> bytes:
    """Its catalog lies in an object stream that was packed twice: to count its pages, all must be unpacked."""
    packer = zlib.compressobj(9)
    once = packer.compress(b"1 0 <</Type/Catalog/Pages 3 0 R>>")
    once += b"".join(packer.compress(b" " * MEGABYTE) for _ in range(megabytes)) + packer.flush()
    data, offsets = _objects(
        {
            2: stream(b"/Type/ObjStm/N 1/First 4/Filter[/FlateDecode/FlateDecode]", zlib.compress(once, 9)),
            3: b"<</Type/Pages/Count 1/Kids[4 0 R]>>",
            4: b"<</Type/Page/Parent 3 0 R/MediaBox[0 0 9 9]>>",
        }
    )
    places = [0, 0, *offsets.values(), len(data)]
    rows = [b"\0\0\0\0\0\xff", b"\2\0\0\0\2\0", *(b"\1" + place.to_bytes(4, "big") + b"\0" for place in places[2:])]
    table = b"5 0 obj\n" + stream(b"/Type/XRef/Size 6/W[1 4 1]/Root 1 0 R", b"".join(rows)) + b"\nendobj\n"
    return data + table + b"startxref\n%d\n%%%%EOF" % len(data)


def pdf_of(*objects: bytes) -> bytes:
    """A PDF of these objects, numbered from 1; the first one is its catalog."""
    data, offsets = _objects(dict(enumerate(objects, start=1)))
    rows = b"".join(b"%010d 00000 n \n" % offset for offset in offsets.values())
    table = b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1) + rows
    return data + table + b"trailer<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, len(data))


def stream(entries: bytes, body: bytes) -> bytes:
    """A stream object."""
    return b"<<%s/Length %d>>stream\n" % (entries, len(body)) + body + b"\nendstream"


def _objects(objects: dict[int, bytes]) -> tuple[bytes, dict[int, int]]:
    data, offsets = bytearray(b"%PDF-1.7\n"), {}
    for number, body in objects.items():
        offsets[number] = len(data)
        data += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    return bytes(data), offsets
