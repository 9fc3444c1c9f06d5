"""The long-running commands."""

from __future__ import annotations

import os
import sys
from typing import Final

import click

from actors.logs import configure_logs
from domain.errors import BadSetting
from domain.settings import Settings, read_settings

DEFAULT_PORT: Final = 8080


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option("--simulator", is_flag=True, help="Use the bundled stand-in for the provider; nothing is paid.")
def up(host: str, port: int, simulator: bool) -> None:
    """Gateway, workers and clock in one process.

    Without settings: SQLite and in-process queues under ./parsegate-data, nothing to install. With PARSEGATE_AMQP_URL
    and PARSEGATE_DATABASE_URL: RabbitMQ and PostgreSQL.

    Example: parsegate up --simulator --port 8080
    """
    from llamaparse.simulator import SimulatorSettings
    from parsegate.stack import running_up, wait_for_signal

    configure_logs()
    settings = read_settings()
    if settings.mode is None and settings.api_key is None and not simulator:
        click.echo("no LLAMA_CLOUD_API_KEY: mode mock, documents are parsed here (or use --simulator)", err=True)
    with running_up(settings, host, port, SimulatorSettings() if simulator else None) as gateway:
        ready(gateway.url)
        wait_for_signal()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option(
    "--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
def gateway(host: str, port: int) -> None:
    """The HTTP entrance alone, for RabbitMQ and PostgreSQL.

    Example: parsegate gateway --host 0.0.0.0 --port 8080
    """
    from parsegate.server import bind
    from parsegate.stack import distributed, running_gateway, wait_for_signal

    configure_logs()
    listening = bind(host, port)
    with running_gateway(distributed(read_settings()), listening) as served:
        ready(served.url)
        wait_for_signal()


@click.command()
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64))
@click.option("--threads", default=8, show_default=True, type=click.IntRange(1, 256), help="For each process.")
@click.option("--queues", default=None, help="Only these, comma-separated; all by default.")
def worker(processes: int, threads: int, queues: str | None) -> None:
    """Workers alone, for RabbitMQ and PostgreSQL.

    Example: parsegate worker --processes 2 --threads 8
    """
    from domain.messages import QUEUES
    from models.database import close_connection
    from parsegate.stack import distributed

    configure_logs()
    distributed(read_settings())
    close_connection()
    arguments = ["actors", "--processes", str(processes), "--threads", str(threads)]
    if queues is not None:
        named = [name.strip() for name in queues.split(",")]
        unknown = sorted(set(named) - set(QUEUES))
        if unknown:
            raise click.UsageError(f"there is no queue {unknown[0]!r}: use {', '.join(QUEUES)}")
        arguments += ["--queues", *named]
    # Dramatiq's own command line takes over this process, with its forks and signals.
    os.execv(sys.executable, [sys.executable, "-m", "dramatiq", *arguments])  # noqa: S606 - no shell is wanted


@click.command()
def clock() -> None:
    """The clock alone: sweeps what is due. Several may run, safely.

    Example: parsegate clock
    """
    import actors
    from parsegate.stack import running_clock, wait_for_signal

    configure_logs()
    services = actors.boot.start(actors.broker, checked(read_settings()))
    with running_clock(services):
        click.echo("ready")
        wait_for_signal()


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=9009, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option("--seed", default=0, show_default=True, help="Of everything that is left to chance.")
@click.option("--parse-limit", default="50/10", show_default=True, help="Creates: COUNT/SECONDS.")
@click.option("--latency", default=0.2, show_default=True, type=click.FloatRange(0), help="Seconds a parse takes.")
@click.option(
    "--fault", "faults", multiple=True, metavar="NAME=RATE", help="Such as create-answer-lost=0.1; repeatable."
)
def simulator(host: str, port: int, seed: int, parse_limit: str, latency: float, faults: tuple[str, ...]) -> None:
    """A LlamaCloud-compatible server. Any key llx-... works, llx-wrong does not.

    Example: parsegate simulator --fault webhook-lost=0.2
    """
    from llamaparse.simulator import SimulatorSettings, run
    from parsegate.server import bind

    configure_logs()
    try:
        settings = SimulatorSettings(
            seed=seed, parse_limit=parse_limit, latency_s=latency, faults=dict(_fault(text) for text in faults)
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    bind(host, port).close()
    run(settings, host, port, ready)


def _fault(text: str) -> tuple[str, float]:
    name, _, rate = text.partition("=")
    try:
        return name, float(rate)
    except ValueError:
        raise click.UsageError(f"--fault {text!r}: write NAME=RATE, such as webhook-lost=0.2") from None


def ready(url: str) -> None:
    """Say that work is accepted; the one line that others wait for."""
    click.echo(f"ready on {url}")


def checked(settings: Settings) -> Settings:
    """Settings with a secret key, as every process of its own needs them."""
    if not settings.secret_key:
        raise BadSetting("PARSEGATE_SECRET_KEY is not set: 64 hex digits, the same for every process")
    return settings
