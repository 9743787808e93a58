"""What a router of every cost weight is built on: see `jaxroute.engine.interpolation`."""

from jaxroute.engine.interpolation import *  # noqa: F403
