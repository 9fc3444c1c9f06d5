"""Archives and PDFs of some kilobytes that ask for gigabytes, for hours, or for more stack than there is."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable
from typing import Final

import docx
import openpyxl
import pptx

from tests.hostile import MEGABYTE, nested_forms, packed_catalog, pdf_of, stream

MAIN_PARTS: Final = {
    "docx": "word/document.xml",
    "xlsx": "xl/worksheets/sheet1.xml",
    "pptx": "ppt/slides/slide1.xml",
}
UNPACKED: Final = 300 * MEGABYTE
LAUGHS: Final = (
    '<?xml version="1.0"?><!DOCTYPE lol [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY {name} "{f"&{before};" * 10}">' for before, name in zip("abcdefghi", "bcdefghij", strict=True))
    + "]>"
)
_PAGES: Final = b"<</Type/Catalog/Pages 2 0 R>>"
_ONE_PAGE: Final = b"<</Type/Pages/Count 1/Kids[3 0 R]>>"
_PAGE: Final = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R>>"


def bombs() -> dict[str, Callable[[], bytes]]:
    """What makes each, by the name of the file that it goes under."""
    found: dict[str, Callable[[], bytes]] = {
        **{f"{name}.pdf": make for name, make in _PDFS.items()},
        "nested-forms.pdf": nested_forms,
        "packed-catalog.pdf": packed_catalog,
    }
    for kind in MAIN_PARTS:
        for name, make in _ARCHIVES.items():
            found[f"{name}.{kind}"] = lambda make=make, kind=kind: make(kind)  # type: ignore[misc]
    return found


def office(kind: str) -> bytes:
    """A small, good document."""
    output = io.BytesIO()
    if kind == "docx":
        document = docx.Document()
        document.add_paragraph("A note.")
        document.save(output)
    elif kind == "xlsx":
        workbook = openpyxl.Workbook()
        workbook.worksheets[0]["A1"] = "A note."
        workbook.save(output)
    else:
        slides = pptx.Presentation()
        slides.slides.add_slide(slides.slide_layouts[0]).shapes[0].text_frame.text = "A note."
        slides.save(output)
    return output.getvalue()


def with_parts(archive: bytes, parts: dict[str, bytes]) -> bytes:
    """The archive with these parts in place of its own."""
    output = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name not in parts:
                new.writestr(name, old.read(name))
        for name, content in parts.items():
            new.writestr(name, content)
    return output.getvalue()


def part_of(archive: bytes, name: str) -> bytes:
    """A part."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        return opened.read(name)


def _flat(kind: str) -> bytes:
    return with_parts(office(kind), {MAIN_PARTS[kind]: bytes(UNPACKED)})


def _beside(kind: str) -> bytes:
    """Nothing is in it that is read; who unpacks all of it is lost."""
    return with_parts(office(kind), {"media/zeros.bin": bytes(UNPACKED)})


def _nested(kind: str) -> bytes:
    inner = with_parts(office(kind), {"zeros.bin": bytes(20 * MEGABYTE)})
    for _ in range(2):
        output = io.BytesIO()
        with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
            for number in range(20):
                archive.writestr(f"{number}.zip", inner)
        inner = output.getvalue()
    return with_parts(office(kind), {f"embeddings/object.{kind}": inner, "0.zip": inner})


def _lying(kind: str) -> bytes:
    """Its directory, and the part's own head, say that the part has 1,000 bytes; it unpacks to 300 MB."""
    whole = _flat(kind)
    return whole.replace(UNPACKED.to_bytes(4, "little"), (1000).to_bytes(4, "little"))


def _deep(kind: str) -> bytes:
    """A hundred thousand elements in each other: too few bytes to be refused for how well they are packed."""
    own, part = office(kind), MAIN_PARTS[kind]
    xml = part_of(own, part)
    place = xml.rindex(b"</")
    return with_parts(own, {part: xml[:place] + b"<a>" * 100_000 + b"</a>" * 100_000 + xml[place:]})


def _laughing(kind: str) -> bytes:
    """A billion laughs where the text is."""
    own, part = office(kind), MAIN_PARTS[kind]
    return with_parts(own, {part: _laughs_in(part_of(own, part))})


def _laughing_in_utf_16(kind: str) -> bytes:
    own, part = office(kind), MAIN_PARTS[kind]
    text = _laughs_in(part_of(own, part)).decode().replace('version="1.0"', 'version="1.0" encoding="UTF-16"', 1)
    return with_parts(own, {part: text.encode("utf-16")})


def _laughing_by_another_name(kind: str) -> bytes:
    """In a part whose name says nothing of XML, though the archive's relations and types lead there."""
    own, part = office(kind), MAIN_PARTS[kind]
    name, odd = part.rpartition("/")[2], part.rpartition("/")[2].replace(".xml", ".dat")
    changed = {}
    with zipfile.ZipFile(io.BytesIO(own)) as archive:
        for entry in archive.namelist():
            if entry.endswith(".rels") or entry == "[Content_Types].xml":
                changed[entry] = archive.read(entry).replace(name.encode(), odd.encode())
    moved = with_parts(own, {**changed, part.replace(name, odd): _laughs_in(part_of(own, part))})
    return without(moved, part)


def without(archive: bytes, part: str) -> bytes:
    """The archive without a part."""
    output = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            if name != part:
                new.writestr(name, old.read(name))
    return output.getvalue()


def _laughs_in(xml: bytes) -> bytes:
    text = xml.decode()
    body = text[text.index("?>") + 2 :] if text.startswith("<?xml") else text
    changed = body.replace("A note.", "&j;", 1)
    if changed == body:  # a sheet's text lies elsewhere
        changed = body.replace("<v>0</v>", "<v>&j;</v>", 1)
    assert changed != body
    return (LAUGHS + changed).encode()


def _page_with(content: bytes, filters: bytes) -> bytes:
    return pdf_of(_PAGES, _ONE_PAGE, _PAGE, stream(filters, content))


def _said_pages() -> bytes:
    return pdf_of(_PAGES, b"<</Type/Pages/Count 2147483647/Kids[3 0 R]>>", _PAGE, stream(b"", b""))


def _shared_pages() -> bytes:
    """Nine levels of a page tree, each of which names the next one ten times."""
    levels = [
        b"<</Type/Pages/Count %d/Kids[%s]>>" % (10**level, b"%d 0 R " % (12 - level) * 10) for level in range(9, 0, -1)
    ]
    return pdf_of(_PAGES, *levels, b"<</Type/Null>>", b"<</Type/Page/MediaBox[0 0 9 9]>>")


def _many_pages() -> bytes:
    """200,000 pages of a few bytes."""
    count = 200_000
    kids = b" ".join(b"%d 0 R" % number for number in range(3, 3 + count))
    pages = [b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>"] * count
    return pdf_of(_PAGES, b"<</Type/Pages/Count %d/Kids[%s]>>" % (count, kids), *pages)


def _huge_page() -> bytes:
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 1e30 1e30]/UserUnit 1e30/Contents 4 0 R>>"
    return pdf_of(_PAGES, _ONE_PAGE, page, stream(b"", b"BT /F 1e30 Tf (abc) Tj ET"))


def _circle_of_pages() -> bytes:
    return pdf_of(_PAGES, b"<</Type/Pages/Count 9/Kids[3 0 R 2 0 R]>>", b"<</Type/Pages/Count 9/Kids[2 0 R]>>")


def _nested_objects() -> bytes:
    return pdf_of(_PAGES, _ONE_PAGE, _PAGE, b"[" * 1_000_000 + b"]" * 1_000_000)


def _nested_dictionaries() -> bytes:
    return pdf_of(b"<</Type/Catalog/Pages 2 0 R/A" + b"<</A" * 500_000 + b" 1" + b">>" * 500_001, _ONE_PAGE, _PAGE)


def _packed_content() -> bytes:
    """A page whose content is 800 MB of operators, packed twice."""
    packer = zlib.compressobj(9)
    once = b"".join(packer.compress(b"q Q " * (MEGABYTE // 4)) for _ in range(800)) + packer.flush()
    return _page_with(zlib.compress(once, 9), b"/Filter[/FlateDecode/FlateDecode]")


def _nested_content() -> bytes:
    return _page_with(zlib.compress(b"q " * 20_000_000 + b"[" * 10_000_000, 9), b"/Filter/FlateDecode")


def _predictor() -> bytes:
    """Rows of two thousand million columns."""
    params = b"/Filter/FlateDecode/DecodeParms<</Predictor 15/Colors 4/BitsPerComponent 16/Columns 2147483647>>"
    return _page_with(zlib.compress(bytes(MEGABYTE)), params)


def _much_text() -> bytes:
    """A page with five million words."""
    fonts = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Resources<</Font<</F 5 0 R>>>>/Contents 4 0 R>>"
    content = zlib.compress(b"BT /F 9 Tf " + b"1 0 Td (abcd ) Tj " * 5_000_000 + b"ET", 9)
    font = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"
    return pdf_of(_PAGES, _ONE_PAGE, fonts, stream(b"/Filter/FlateDecode", content), font)


_PDFS: Final[dict[str, Callable[[], bytes]]] = {
    "said-pages": _said_pages,
    "shared-pages": _shared_pages,
    "many-pages": _many_pages,
    "huge-page": _huge_page,
    "circle-of-pages": _circle_of_pages,
    "nested-objects": _nested_objects,
    "nested-dictionaries": _nested_dictionaries,
    "packed-content": _packed_content,
    "nested-content": _nested_content,
    "predictor": _predictor,
    "much-text": _much_text,
}
_ARCHIVES: Final[dict[str, Callable[[str], bytes]]] = {
    "flat": _flat,
    "beside": _beside,
    "nested": _nested,
    "lying": _lying,
    "deep": _deep,
    "laughing": _laughing,
    "laughing-in-utf-16": _laughing_in_utf_16,
    "laughing-by-another-name": _laughing_by_another_name,
}
