"""The parser of modules that are run by themselves: help and errors that nobody reads end as every output does."""

from __future__ import annotations

import argparse
import sys
from typing import NoReturn

from jaxroute.system import stopping


class Parser(argparse.ArgumentParser):
    """As ``argparse``'s, but that its own exits say whether what was printed has arrived; see ``stopping.arrived``.

    Example:
        >>> Parser(prog="demo").parse_args([])
        Namespace()
    """

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """Print the message and exit: 141 where the reader of the output has gone, 2 for a full disk."""
        if message:
            self._print_message(message, sys.stderr)
        stopping.leave(status)
