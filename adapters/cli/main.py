"""The command line `uprp`: data on stdout, progress on stderr."""

from __future__ import annotations

import sys

import typer

from adapters.cli.audit import audit_commands
from adapters.cli.conform import conform_commands
from adapters.cli.demo import demo_commands
from adapters.cli.environment import environment_commands
from adapters.cli.parked import parked_commands
from adapters.cli.participants import participants_commands
from adapters.cli.request import request_commands
from adapters.cli.saga import saga_commands
from adapters.cli.sandbox import sandbox_commands
from adapters.cli.service import service_commands

app = typer.Typer(
    name="uprp",
    help="Points redemption between banks, wallets, airlines, hotels and coupon issuers.",
    epilog="Begin with: uprp demo. Step by step: uprp doctor, uprp up, uprp topics apply,"
    " uprp db migrate.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
environment_commands(app)
service_commands(app)
sandbox_commands(app)
conform_commands(app)
request_commands(app)
saga_commands(app)
parked_commands(app)
participants_commands(app)
audit_commands(app)
demo_commands(app)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
