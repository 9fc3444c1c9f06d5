"""Documentation that can't rot: an undocumented setting or command fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from domain.settings import Settings, setting_names
from parsegate.cli import cli

DOCS = Path(__file__).parents[2] / "docs"


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        yield (*path, name), command


ALL = list(commands(cli))


@pytest.mark.parametrize("name", [name for field in Settings.model_fields for name in setting_names(field)])
def test_every_setting_is_documented(name: str) -> None:
    assert f"`{name}`" in (DOCS / "settings.md").read_text()


def test_no_setting_is_documented_that_does_not_exist() -> None:
    named = set(re.findall(r"`((?:PARSEGATE|LLAMA)[A-Z_]*_[A-Z_]+)`", (DOCS / "settings.md").read_text()))
    assert named == {name for field in Settings.model_fields for name in setting_names(field)} - {"SERVICE_MODE"}


@pytest.mark.parametrize("path", [path for path, command in ALL if not isinstance(command, click.Group)], ids=" ".join)
def test_every_command_is_documented(path: tuple[str, ...]) -> None:
    assert f"`parsegate {' '.join(path)}`" in (DOCS / "commands.md").read_text()


def test_no_command_is_documented_that_does_not_exist() -> None:
    named = set(re.findall(r"^\| `parsegate ([a-z ]+)`", (DOCS / "commands.md").read_text(), flags=re.M))
    assert named == {" ".join(path) for path, command in ALL if not isinstance(command, click.Group)}


@pytest.mark.parametrize(("path", "command"), ALL, ids=[" ".join(path) for path, _ in ALL])
def test_every_command_has_help_with_an_example(path: tuple[str, ...], command: click.Command) -> None:
    answer = CliRunner().invoke(cli, [*path, "--help"])
    assert answer.exit_code == 0
    assert f"Example: parsegate {' '.join(path)}" in " ".join(answer.output.split())


def test_the_help_shows_the_documented_commands() -> None:
    """Its list is written by hand, so that no command is loaded for it."""
    shown = re.findall(r"^  ([a-z]+)  +\S", CliRunner().invoke(cli, ["--help"]).output, flags=re.M)
    documented = re.findall(r"^\| `parsegate ([a-z]+)", (DOCS / "commands.md").read_text(), flags=re.M)
    assert sorted(shown) == sorted(set(documented))
