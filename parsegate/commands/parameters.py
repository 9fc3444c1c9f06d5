"""What commands take: documents, ports, names."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any, Final

import click


class DocumentFile(click.Path):
    """A file that can be ordered: there, regular, and with something in it. Looked at before anything is ordered."""

    def __init__(self) -> None:
        super().__init__(exists=True, dir_okay=False, path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path, checked."""
        path = Path(str(super().convert(value, param, ctx)))
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            self.fail(f"{str(path)!r} is not a regular file.", param, ctx)
        if not found.st_size:
            self.fail(f"{str(path)!r} is empty.", param, ctx)
        return path


class Port(click.ParamType[int]):
    """A TCP port; 0 takes a free one."""

    name = "port"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number."""
        text = str(value)
        if not (text.isascii() and text.isdigit() and int(text) <= 65535):
            self.fail(f"{text!r} is not a port: write a whole number from 0 (a free one) to 65535.", param, ctx)
        return int(text)


class Name(click.ParamType[str]):
    """What somebody calls a thing: something that can be seen, and not too long."""

    name = "text"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name without spaces around it."""
        text = str(value).strip()
        if not text or not text.isprintable() or len(text) > 200:
            self.fail("write a name of 1 to 200 printable characters.", param, ctx)
        return text


DOCUMENT: Final = DocumentFile()
PORT: Final = Port()
NAME: Final = Name()
