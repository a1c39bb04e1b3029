"""The command line: one file a noun. The one place where an error becomes a sentence for a person, and an exit code.

Exit codes: 0 done, 1 it failed or was refused, 2 wrong usage or configuration, or a name that nothing has.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from dicomnode import __version__
from dicomnode.cli.audit import audit
from dicomnode.cli.demo import demo
from dicomnode.cli.doctor import doctor
from dicomnode.cli.explain import explain
from dicomnode.cli.find import find
from dicomnode.cli.get import get
from dicomnode.cli.import_ import import_
from dicomnode.cli.move import move
from dicomnode.cli.node import check, reload, serve
from dicomnode.cli.opening import Place, say
from dicomnode.cli.output import count
from dicomnode.cli.partners import partners
from dicomnode.cli.quarantine import quarantine
from dicomnode.cli.queue import queue
from dicomnode.cli.referrals import referrals
from dicomnode.cli.reindex import reindex
from dicomnode.cli.report import report
from dicomnode.cli.routes import routes
from dicomnode.cli.send import send
from dicomnode.cli.status import status
from dicomnode.cli.studies import studies
from dicomnode.cli.tls import tls
from dicomnode.errors import ConfigurationError, DicomnodeError, UsageError


class _Group(click.Group):
    """A group whose commands may raise our errors: each is answered in one sentence, or one line a fault."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn what it raises into text and an exit code."""
        try:
            return super().invoke(ctx)
        except ConfigurationError as error:
            source = ctx.params.get("config", "the configuration")
            say(f"{source} cannot be used, for {count(len(error.faults), 'reason')}:")
            for fault in error.faults:
                say(f"  {fault}")
            sys.exit(2)
        except UsageError as error:
            say(f"error: {error}")
            sys.exit(2)
        except DicomnodeError as error:
            say(f"error: {error}")
            sys.exit(1)
        except BrokenPipeError:
            sys.exit(0)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="DICOMNODE_CONFIG",
    default=Path("config/dicomnode.yaml"),
    show_default=True,
    show_envvar=True,
    help="The node's configuration.",
)
@click.version_option(__version__, prog_name="dicomnode")
@click.pass_context
def main(context: click.Context, config: Path) -> None:
    """A DICOM node that takes custody of studies, shows them to those who may see them, and carries each referred
    study, one way, to the hospital it is referred to.

    \b
    A first day:
      dicomnode check                 what the configuration means, and what is wrong with it
      dicomnode serve                 run the node
      dicomnode status                how it does, and what needs you
      dicomnode doctor                everything that can be wrong, and what to do about it
      dicomnode partners refused      who was turned away, and the lines that would admit them
      dicomnode studies list          what has arrived
      dicomnode referrals list        where each referred study is, and why
      dicomnode explain STUDY         the whole of it for one study, with the next step and whose that is
      dicomnode report                what was exchanged, in figures that may be published
      dicomnode queue shape           what waits for whom
      dicomnode find PARTNER          what a partner has: move, get, send and import carry it by hand
    """
    os.umask(0o027)  # what is kept is nobody's to read but the node's and its group's
    context.obj = Place(config)


_OF_THE_NODE = (serve, check, reload, status, doctor, explain, reindex, report, demo)
_BY_HAND = (find, get, move, send, import_)
for _command in (*_OF_THE_NODE, partners, studies, *_BY_HAND, referrals, quarantine, queue, routes, audit, tls):
    main.add_command(_command)
