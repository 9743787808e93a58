"""``python -m jaxroute`` and the console script: see ``jaxroute.cli``."""

from jaxroute.system import stopping


def run() -> None:
    """The command line; Ctrl-C ends it with exit code 130, and output that nobody reads with 141."""
    stopping.at_once()
    from jaxroute.cli import main

    try:
        with stopping.heard(), stopping.piped():
            main()
    except KeyboardInterrupt:
        stopping.leave(stopping.STOPPED)
    except SystemExit as exit_:  # of the parser, which makes one of an interrupt too
        stopping.leave(exit_.code)


if __name__ == "__main__":
    run()
