"""The command ``parsegate``. Commands are loaded when they run, so that ``--help`` stays quick."""

from __future__ import annotations

import importlib
import os
import sys
from dataclasses import dataclass
from typing import Final

import click

from domain.errors import ParsegateError


@dataclass(frozen=True)
class Lazy:
    """Where a command is, and its one line of help."""

    module: str
    name: str
    help: str


COMMANDS: Final = {
    "demo": Lazy("parsegate.commands.demo", "demo", "Parse the bundled samples through the whole path."),
    "up": Lazy("parsegate.commands.run", "up", "Gateway, workers and clock in one process."),
    "gateway": Lazy("parsegate.commands.run", "gateway", "The HTTP entrance alone."),
    "worker": Lazy("parsegate.commands.run", "worker", "Workers alone."),
    "clock": Lazy("parsegate.commands.run", "clock", "The clock alone."),
    "simulator": Lazy("parsegate.commands.run", "simulator", "A LlamaCloud-compatible server to try things on."),
    "submit": Lazy("parsegate.commands.client", "submit", "Order documents to be parsed."),
    "jobs": Lazy("parsegate.commands.client", "jobs", "Look at jobs."),
    "result": Lazy("parsegate.commands.client", "result", "Print a job's result."),
    "mode": Lazy("parsegate.commands.client", "mode", "Show or switch who parses: real, mock, hybrid."),
    "token": Lazy("parsegate.commands.operate", "token", "Make, list and revoke bearer tokens."),
    "secrets": Lazy("parsegate.commands.operate", "secrets", "Show a job's webhook secret."),
    "db": Lazy("parsegate.commands.operate", "db", "Bring the database's schema up to date."),
    "doctor": Lazy("parsegate.commands.operate", "doctor", "Check settings and dependencies."),
}


class LazyGroup(click.Group):
    """A group that loads a command only when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load one command."""
        lazy = COMMANDS.get(cmd_name)
        if lazy is None:
            return None
        command = getattr(importlib.import_module(lazy.module), lazy.name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, lazy.help) for name, lazy in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="parsegate")
def cli() -> None:
    """Parsegate stands between an upload service and LlamaParse: no document lost, none paid twice.

    Example: parsegate up --simulator
    """


def main() -> None:
    """Run the command line; every error is one sentence on standard error.

    Exits with 2 for bad usage, 1 for failure.
    """
    try:
        status = cli.main(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.UsageError as error:
        hint = f" ('{error.ctx.command_path} --help' tells more)" if error.ctx is not None else ""
        _say(f"{error.format_message()}{hint}")
        sys.exit(2)
    except click.ClickException as error:
        _say(error.format_message())
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        _say("stopped")
        sys.exit(130)
    except ParsegateError as error:
        _say(str(error))
        sys.exit(1)
    except BrokenPipeError:
        # The reader of our output has gone; nothing is to be said to nobody.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if os.environ.get("PARSEGATE_DEBUG"):
            raise
        _say(f"unexpected {type(error).__name__}: {error} (PARSEGATE_DEBUG=1 shows where)")
        sys.exit(1)


def _say(text: str) -> None:
    print(f"parsegate: {text}", file=sys.stderr, flush=True)
