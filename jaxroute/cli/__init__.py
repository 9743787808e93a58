"""The command line: ``jaxroute doctor | fit | methods | shadow | table | evaluate | compare | route | ...``.

``app`` is the parser, and ``main`` is called by ``python -m jaxroute`` and the console script. Bad input gives one line
on stderr and exit code 2; a log to which no router can be fitted gives exit code 3.
"""

import os
import sys
from collections.abc import Sequence

import jax
import typer

from jaxroute.cli import demo, doctor, evaluate, export, fit, methods, reading, route, shadow, table
from jaxroute.data import hub
from jaxroute.system.printing import say
from jaxroute.types import InputError

app = typer.Typer(
    help="Learn which language model should answer which prompt, from logs in which each prompt was answered by one.",
    epilog="Start with jaxroute doctor LOG. If you have no log yet, make one with jaxroute demo-log log.jsonl.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.command("doctor")(reading.with_log_options(doctor.doctor))
app.command("fit", epilog="\b\n" + methods.table())(reading.with_log_options(fit.fit))
app.command("methods")(methods.methods)
app.command("shadow")(reading.with_log_options(shadow.shadow))
app.command("table")(table.table)
app.command("evaluate")(reading.with_log_options(evaluate.evaluate))
app.command("compare")(reading.with_log_options(evaluate.compare))
app.command("route")(route.route)
app.command("export")(export.export)
app.command("demo-log")(demo.demo_log)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code. With the compilation cache, programs compile once per machine."""
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(hub.cache_folder() / "compiled"))
    try:
        app(list(sys.argv[1:] if arguments is None else arguments))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    except OSError as error:  # a full disk under the standard output, say
        say(f"error: {error.filename or 'the output'}: {error.strerror or error}", to=sys.stderr)
        raise SystemExit(2) from None
