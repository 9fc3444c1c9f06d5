"""The long-running commands."""

from __future__ import annotations

import os
import sys
from typing import Final

import click

from actors.logs import configure_logs
from domain.errors import BadSetting
from domain.setting_sources import without_password
from domain.settings import Mode, Settings, read_settings
from parsegate.commands.parameters import PORT

DEFAULT_PORT: Final = 8080


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=PORT, help="0 takes a free one.")
@click.option("--proxy-headers", default=None, help="Believe X-Forwarded-* from these addresses, comma-separated.")
@click.option("--simulator", is_flag=True, help="Use the bundled stand-in for the provider; nothing is paid.")
def up(host: str, port: int, proxy_headers: str | None, simulator: bool) -> None:
    """Gateway, workers and clock in one process.

    Without settings: SQLite and in-process queues under ./parsegate-data, nothing to install. With PARSEGATE_AMQP_URL
    and PARSEGATE_DATABASE_URL: RabbitMQ and PostgreSQL.

    Example: parsegate up --simulator --port 8080
    """
    from llamaparse.simulator import SimulatorSettings
    from parsegate.parts import wait_for_signal
    from parsegate.stack import running_up

    configure_logs()
    settings = _settings(proxy_headers)
    with running_up(settings, host, port, SimulatorSettings() if simulator else None) as gateway:
        say_mode(settings, simulator=simulator)
        ready(gateway.url)
        wait_for_signal(gateway.parts)


def _settings(proxies: str | None) -> Settings:
    return read_settings() if proxies is None else read_settings({**os.environ, "PARSEGATE_TRUSTED_PROXIES": proxies})


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=DEFAULT_PORT, show_default=True, type=PORT, help="0 takes a free one.")
@click.option("--proxy-headers", default=None, help="Believe X-Forwarded-* from these addresses, comma-separated.")
def gateway(host: str, port: int, proxy_headers: str | None) -> None:
    """The HTTP entrance alone, for RabbitMQ and PostgreSQL.

    Example: parsegate gateway --host 0.0.0.0 --port 8080
    """
    from parsegate.parts import wait_for_signal
    from parsegate.server import bind
    from parsegate.stack import distributed, running_gateway

    configure_logs()
    listening = bind(host, port)
    settings = _settings(proxy_headers)
    with running_gateway(distributed(settings), listening) as served:
        say_mode(settings)
        ready(served.url)
        wait_for_signal(served.parts)


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
    settings = read_settings()
    distributed(settings)
    say_mode(settings)
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
    from parsegate.parts import wait_for_signal
    from parsegate.stack import running_clock

    configure_logs()
    settings = checked(read_settings())
    services = actors.boot.start(actors.broker, settings)
    with running_clock(services) as part:
        say_mode(settings)
        click.echo("ready")
        wait_for_signal((part,))


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True)
@click.option("--port", default=9009, show_default=True, type=PORT, help="0 takes a free one.")
@click.option("--seed", default=0, show_default=True, help="Of everything that is left to chance.")
@click.option("--parse-limit", default="50/10", show_default=True, help="Creates: COUNT/SECONDS.")
@click.option("--upload-limit", default="50/5", show_default=True, help="Uploads of each project: COUNT/SECONDS.")
@click.option("--latency", default=0.2, show_default=True, type=click.FloatRange(0), help="Seconds a parse takes.")
@click.option(
    "--fault", "faults", multiple=True, metavar="NAME=RATE", help="Such as create-answer-lost=0.1; repeatable."
)
def simulator(
    host: str, port: int, seed: int, parse_limit: str, upload_limit: str, latency: float, faults: tuple[str, ...]
) -> None:
    """A LlamaCloud-compatible server. Any key llx-... works, llx-wrong does not.

    Example: parsegate simulator --fault webhook-lost=0.2
    """
    from llamaparse.simulator import SimulatorSettings, run
    from parsegate.server import bind

    configure_logs()
    try:
        settings = SimulatorSettings(
            seed=seed,
            parse_limit=parse_limit,
            upload_limit=upload_limit,
            latency_s=latency,
            faults=dict(_fault(text) for text in faults),
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


def say_mode(settings: Settings, *, simulator: bool = False) -> None:
    """Say who parses, and who said so, in one line on standard error. The database is open."""
    from models.control import read_mode

    provider = settings.api_key is not None or simulator
    now = read_mode(settings.mode or (Mode.REAL if provider else Mode.MOCK), settings.mode_source)
    where = "the simulator" if simulator else without_password(settings.base_url)
    words = {
        Mode.REAL: f"documents are parsed by {where}",
        Mode.MOCK: "documents are parsed here, and nothing is sent or paid",
        Mode.HYBRID: f"documents are parsed by {where}, or here while it is down",
    }[now.mode]
    source = "default, without LLAMA_CLOUD_API_KEY" if now.source == "default" and not provider else now.source
    click.echo(f"mode {now.mode.value} ({source}): {words}", err=True)


def ready(url: str) -> None:
    """Say that work is accepted; the one line that others wait for."""
    click.echo(f"ready on {url}")


def checked(settings: Settings) -> Settings:
    """Settings with a secret key, as every process of its own needs them."""
    if not settings.secret_key:
        raise BadSetting("PARSEGATE_SECRET_KEY is not set: 64 hex digits, the same for every process")
    return settings
