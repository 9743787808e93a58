"""``python -m jaxroute``: see ``jaxroute.cli``."""

from jaxroute.cli import main

if __name__ == "__main__":
    main()
