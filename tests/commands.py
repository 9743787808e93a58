"""Run a command of the command line in this process."""

import pytest

from jaxroute import cli


def run(capsys, *arguments):
    """(exit code, stdout, stderr)."""
    with pytest.raises(SystemExit) as exit_:
        cli.main([str(a) for a in arguments])
    printed = capsys.readouterr()
    return exit_.value.code or 0, printed.out, printed.err
