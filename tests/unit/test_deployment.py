"""What ships beside the code: the compose file, its variables, the image, RabbitMQ's configuration."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import click
import pytest

from actors.doubt import PAID_CALL_S
from actors.local import PARSE_S
from actors.middleware.outcome import MOST_WAIT_S
from actors.source import DEADLINE_S
from domain.settings import Settings, setting_names
from llamaparse.exchange import Timeouts
from parsegate.cli import cli

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PACKAGES = ("actors", "domain", "gateway", "llamaparse", "models", "parsegate")


def _commands(text: str, keyword: str) -> list[list[str]]:
    return [json.loads(found) for found in re.findall(rf"^ *{keyword} (\[.*\])", text, re.MULTILINE)]


KNOWN = {name for field in Settings.model_fields for name in setting_names(field)}


def test_every_variable_of_the_compose_file_is_in_the_example_and_no_other_but_settings() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE))
    offered = set(re.findall(r"^(?:# )?([A-Z_]+)=", EXAMPLE, re.MULTILINE))
    assert used <= offered
    assert offered - used <= KNOWN


def test_the_containers_get_every_setting_of_the_file() -> None:
    """Not a list of some; but the simulator, which needs none of our secrets, none."""
    assert re.search(r"^x-parsegate:.*(\n .*)*\n  env_file: \.env\b", COMPOSE, re.MULTILINE)
    assert re.search(r"^  simulator:(\n    .*)*\n    env_file: \[\]", COMPOSE, re.MULTILINE)


def test_nothing_in_the_example_undoes_what_stands_above() -> None:
    """Of two lines the last one counts, so what is offered to be uncommented stands after the empty one."""
    lines = re.findall(r"^(# )?([A-Z_]+)=", EXAMPLE, re.MULTILINE)
    commented = [name for comment, name in lines if comment]
    assert commented
    for name in commented:
        assert [comment for comment, other in lines if other == name][-1]


def test_no_secret_has_a_default() -> None:
    assert not re.findall(r"^[A-Z_]+=.", EXAMPLE, re.MULTILINE)
    secrets = re.findall(r"\$\{([A-Z_]*(?:PASSWORD|SECRET)[A-Z_]*)(:.)", COMPOSE)
    assert secrets
    assert all(operator == ":?" for _, operator in secrets)


def test_the_containers_are_given_real_settings() -> None:
    given = set(re.findall(r"^ +((?:PARSEGATE|LLAMA)[A-Z_]*):", COMPOSE, re.MULTILINE))
    assert given
    assert given <= KNOWN


@pytest.mark.parametrize(
    "words", _commands(COMPOSE, "command:") + _commands(DOCKERFILE, "CMD"), ids=lambda words: " ".join(words)
)
def test_every_command_of_the_containers_exists_with_its_options(words: list[str]) -> None:
    command: click.Command | None = cli
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words[0])
        words = words[1:]
    assert command is not None
    command.make_context(command.name, words)  # raises for an unknown option; runs nothing


def test_the_image_copies_what_exists_and_every_package() -> None:
    copied = {source for line in re.findall(r"^COPY (.+)$", DOCKERFILE, re.MULTILINE) for source in line.split()[:-1]}
    assert all((ROOT / source).exists() for source in copied)
    assert copied >= set(PACKAGES)


def test_an_installed_package_is_whole() -> None:
    """A checkout finds every file beside the code; an installation only those that pyproject.toml names."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    named = {file for package, globs in data.items() for part in globs for file in (ROOT / package).glob(part)}
    needed = {
        file
        for package in PACKAGES
        for file in (ROOT / package).rglob("*")
        if file.is_file() and file.suffix not in {".py", ".pyc"}
    }
    assert {str(file.relative_to(ROOT)) for file in needed - named} == set()


MARGIN_S = 120
"""For what an actor does before and after its longest call, and for a last look whether the database is back."""


def test_rabbitmq_waits_for_the_longest_actor() -> None:
    """Else it takes the message back while somebody works at it."""
    found = re.search(r"^consumer_timeout = (\d+)$", (ROOT / "rabbitmq.conf").read_text(), re.MULTILINE)
    assert found is not None
    longest_s = max(MOST_WAIT_S, PARSE_S, PAID_CALL_S, DEADLINE_S, Timeouts().upload_deadline_s)
    assert longest_s + MARGIN_S < int(found[1]) / 1000
