"""``python -m jaxroute`` and the console script: see ``jaxroute.cli``."""

import gc

from jaxroute.system import stopping

YOUNG = 50_000
"""Objects made between two looks for garbage, 700 if Python is left alone: imports and traced programs are millions of
objects that stay, and looking through them again and again took a tenth of a command's time."""


def run() -> None:
    """The command line; Ctrl-C ends it with exit code 130."""
    stopping.at_once()
    gc.set_threshold(YOUNG, *gc.get_threshold()[1:])
    from jaxroute.cli import main

    try:
        with stopping.heard():
            main()
    except KeyboardInterrupt:
        stopping.leave(stopping.STOPPED)
    except SystemExit as exit_:  # of the parser, which makes one of an interrupt too
        stopping.leave(exit_.code)


if __name__ == "__main__":
    run()
