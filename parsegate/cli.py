"""The command ``parsegate``. Commands are loaded when they run, so that ``--help`` stays quick."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from dataclasses import dataclass
from typing import Final

import click

from domain.errors import ParsegateError

UNWRITABLE: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})
"""What goes wrong with standard output and no place else: files and sockets are guarded where they are used."""


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
    "quote": Lazy("parsegate.commands.money", "quote", "What documents would cost, before anything is sent."),
    "jobs": Lazy("parsegate.commands.jobs", "jobs", "List jobs, look at them, stop them, order them again."),
    "result": Lazy("parsegate.commands.client", "result", "Print a job's result."),
    "budget": Lazy("parsegate.commands.money", "budget", "Show or set what may be spent."),
    "usage": Lazy("parsegate.commands.money", "usage", "What has been spent, by day, tenant, user, tag, tier."),
    "drifts": Lazy("parsegate.commands.drifts", "drifts", "Bills that are not what was priced."),
    "limits": Lazy("parsegate.commands.limits", "limits", "Show or set the provider's pace."),
    "mode": Lazy("parsegate.commands.client", "mode", "Show or switch who parses: real, mock, hybrid."),
    "webhooks": Lazy("parsegate.commands.webhooks", "webhooks", "Look at webhooks that were not let in."),
    "token": Lazy("parsegate.commands.operate", "token", "Make, list and revoke bearer tokens."),
    "audit": Lazy("parsegate.commands.audit", "audit", "Show who changed what: budgets, mode, limits, tokens."),
    "secrets": Lazy("parsegate.commands.secrets", "secrets", "Show secrets, and rotate the key behind them."),
    "db": Lazy("parsegate.commands.operate", "db", "Bring the database's schema up to date."),
    "doctor": Lazy("parsegate.commands.doctor", "doctor", "Check settings and dependencies."),
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
        sys.stdout.flush()
        sys.exit(status if isinstance(status, int) else 0)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except click.UsageError as error:
        hint = f" ('{error.ctx.command_path} --help' tells more)" if error.ctx is not None else ""
        # Click lists choices on lines of their own.
        _say(f"{' '.join(error.format_message().split())}{hint}")
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
        _give_up_output()
        sys.exit(1)
    except Exception as error:
        if os.environ.get("PARSEGATE_DEBUG"):
            raise
        if isinstance(error, OSError) and error.errno in UNWRITABLE:
            _give_up_output()
            _say(f"what there is to say can't be written: {error.strerror}")
        else:
            _say(f"unexpected {type(error).__name__}: {error} (PARSEGATE_DEBUG=1 shows where)")
        sys.exit(1)


def _give_up_output() -> None:
    """Let what is still in the buffer go nowhere: Python writes it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(text: str) -> None:
    print(f"parsegate: {text}", file=sys.stderr, flush=True)
