"""``python -m jaxroute`` and the console script: see ``jaxroute.cli``."""

import signal


def run() -> None:
    """The command line; Ctrl-C ends it at once, also while libraries are imported, which make errors of their own of
    an interrupt."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from jaxroute.cli import main

    signal.signal(signal.SIGINT, before)
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    run()
