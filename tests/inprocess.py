"""A node's command line, run in this process: it saves the second that an interpreter takes to start.

What a command prints, and how it ends, is the same; `serve` and `demo` are processes even here.
"""

from __future__ import annotations

import json as json_
from typing import Any

from click.testing import CliRunner

from dicomnode.cli import main
from tests.node import Node, Result, tail


def cli(node: Node, *arguments: str, json: bool = False) -> Any:
    """A Result, or with `json` what its `--json` prints; what is no SystemExit is raised."""
    given = ["-c", str(node.file), *arguments, *(["--json"] if json else [])]
    done = CliRunner().invoke(main, given, prog_name="dicomnode", env={"DICOMNODE_CONFIG": None})
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    result = Result(done.exit_code, done.stdout, done.stderr)
    if not json:
        return result
    assert result.code == 0, f"{' '.join(arguments)}: {result}{tail(node.log)}"
    return json_.loads(result.out)


class Here(Node):
    """A node as processes, whose command line runs here."""

    def cli(self, *arguments: str, json: bool = False, timeout: float = 60, stdin: str = "") -> Any:
        if arguments[0] in ("serve", "demo"):
            return super().cli(*arguments, json=json, timeout=timeout, stdin=stdin)
        return cli(self, *arguments, json=json)
