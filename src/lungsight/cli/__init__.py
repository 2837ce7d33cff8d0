"""The command line, a module per group of commands; importing a module adds its commands to the program.

What is heavy is imported when a command needs it, so that ``--help`` is fast.
"""

from lungsight.cli import diagnose, evaluate, predict, serve, simulate, train  # noqa: F401 (adds their commands)
from lungsight.cli.program import app, main

__all__ = ["app", "main"]
