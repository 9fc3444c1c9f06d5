"""What ships beside the code: the compose file, its variables, the image, RabbitMQ's configuration."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import click
import pytest

import actors
from domain.settings import Settings, setting_names
from parsegate.cli import cli

ROOT = Path(__file__).parents[2]
COMPOSE = (ROOT / "docker-compose.yml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PACKAGES = ("actors", "domain", "gateway", "llamaparse", "models", "parsegate")


def _commands(text: str, keyword: str) -> list[list[str]]:
    return [json.loads(found) for found in re.findall(rf"^ *{keyword} (\[.*\])", text, re.MULTILINE)]


def test_every_variable_of_the_compose_file_is_in_the_example_and_no_other() -> None:
    used = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE))
    offered = set(re.findall(r"^([A-Z_]+)=", EXAMPLE, re.MULTILINE))
    assert used == offered


def test_no_secret_has_a_default() -> None:
    assert not re.findall(r"^[A-Z_]+=.", EXAMPLE, re.MULTILINE)
    secrets = re.findall(r"\$\{([A-Z_]*(?:PASSWORD|SECRET)[A-Z_]*)(:.)", COMPOSE)
    assert secrets
    assert all(operator == ":?" for _, operator in secrets)


def test_the_containers_are_given_real_settings() -> None:
    known = {name for field in Settings.model_fields for name in setting_names(field)}
    given = set(re.findall(r"^ +((?:PARSEGATE|LLAMA)[A-Z_]*):", COMPOSE, re.MULTILINE))
    assert given
    assert given <= known


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


def test_rabbitmq_waits_for_the_longest_actor() -> None:
    found = re.search(r"^consumer_timeout = (\d+)$", (ROOT / "rabbitmq.conf").read_text(), re.MULTILINE)
    assert found is not None
    declared = actors.broker.actors.values()
    assert declared
    assert all(actor.options.get("time_limit", 600_000) < int(found[1]) for actor in declared)
