"""The command line: ``jaxroute doctor | fit | methods | shadow | table | evaluate | compare | route | ...``.

``app`` is the parser, and ``main`` is called by ``python -m jaxroute`` and the console script. A command's module is
imported when the command is called, and what a command computes with when it computes, so ``route`` and help
(but for that of ``fit``, which ends in the table of methods) start without JAX. Every command ends with exit code 0
(done), 2 (bad input, one line on stderr) or 3 (the log cannot support what was asked), 130 after Ctrl-C and 141 where
the reader of its output has gone; `output` has --json.

options    what commands share of what they are asked; `reading` the log and the shadow sample
output     what a command gives back, `sheets` its tables, `progress` what is said meanwhile
judged     what a log or a table says of a router; `fitted` what fit says, `examined` and `advice` what doctor says,
           `explored` what explore says, `shadow_plan` and `shadow_pool` the numbers and the prompts of shadow
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

import jaxroute
from jaxroute._lazy import lazy
from jaxroute.cli import output
from jaxroute.data import hub
from jaxroute.system import arenas, compiled, wording
from jaxroute.system.printing import say
from jaxroute.types import InputError, UnsupportedLogError

COMMANDS = {
    "init": ("init", "Describe a log once, in jaxroute.toml, which every command reads."),
    "doctor": ("doctor", "Check a log, with a verdict on what can be learnt from it."),
    "fit": ("fit", "Fit a router to a log or to a table, and save it."),
    "methods": ("methods", "List the methods of fit, their cost and what was found."),
    "shadow": ("shadow", "Plan a sample of prompts that every model answers."),
    "table": ("table", "Make a table from the results of evaluation tools."),
    "evaluate": ("evaluate", "Estimate a router's value on a log that it has not seen."),
    "compare": ("evaluate", "Compare two routers on a log that neither has seen."),
    "rank": ("evaluate", "Find the best of several routers on a log that none has seen."),
    "explore": ("explore", "Plan exploration: what to set in the gateway, its cost, and when it proves a gain."),
    "sample-size": ("planning", "Plan a comparison: how many rated requests prove a gain."),
    "route": ("route", "Choose a model for every prompt."),
    "prices": ("prices", "Show known prices, or look up the price of a model."),
    "reprice": ("prices", "Give a fitted router new prices, without a new fit."),
    "export": ("export", "Write a router as StableHLO, ONNX or JavaScript."),
    "page": ("export", "Write an HTML file that shows which model would answer a prompt."),
    "verify": ("export", "Check that a router, or an export, decides as its test vectors say."),
    "demo-log": ("demo", "Write an artificial log, to try the other commands."),
}
"""The module in this package of every command, and what it does in a line."""

if not TYPE_CHECKING:
    _shared = {
        *("advice", "examined", "explored", "fitted", "judged", "options", "output", "progress", "reading", "sheets"),
        *("shadow_plan", "shadow_pool"),
    }
    __getattr__, __dir__ = lazy(__name__, sorted(_shared | {module for module, _ in COMMANDS.values()}))

PLAIN: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None, "pretty_exceptions_enable": False}
"""Of a command; the whole has shell completion besides."""


class Commands(TyperGroup):
    """Lists names and lines, and imports the command that is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        return name, command and imported(str(name)), rest


class Command(TyperCommand):
    """A command that refuses an option given twice, of which the last value would win without a word.

    Its help ends in what the ``epilog`` of its module says, made when the help is asked for.
    """

    epilog_of: Callable[[], str] | None = None

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            _, _, order = self.make_parser(ctx).parse_args(list(args))
            options: list[Any] = [one for one in order if one.param_type_name == "option" and not one.is_eager]
            for option in options:
                switch = option.is_flag and not option.secondary_opts  # given twice it says the same
                if not (option.multiple or switch) and sum(other is option for other in options) > 1:
                    name = "/".join(option.opts + option.secondary_opts)
                    raise InputError(f"{name} is given twice; it takes one value")
        return super().parse_args(ctx, args)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        if self.epilog_of is not None:
            formatter.write(f"\n{self.epilog_of()}\n")


def imported(name: str) -> Any:
    """The command of this name, from its module."""
    module = importlib.import_module(f"{__name__}.{COMMANDS[name][0]}")
    function = getattr(module, name.replace("-", "_"))
    returns = inspect.signature(function, eval_str=True).return_annotation
    if "how" in inspect.signature(function).parameters:
        from jaxroute.cli import options

        function = options.with_log_options(function)
    if returns is output.Result:
        function = output.with_output_options(function, name)
    one = typer.Typer(**PLAIN)
    one.command(name, cls=Command)(function)
    command: Any = typer.main.get_command(one)
    command.epilog_of = getattr(module, "epilog", None)
    return command


app = typer.Typer(
    cls=Commands,
    help="Learn which language model should answer which prompt, from logs in which each prompt was answered by one.",
    epilog="Start with jaxroute doctor LOG. If you have no log yet, make one with jaxroute demo-log log.jsonl.",
    no_args_is_help=True,
    **(PLAIN | {"add_completion": True}),
)


def _version(asked: bool) -> None:
    if asked:
        print(f"jaxroute {jaxroute.__version__}")
        raise typer.Exit


@app.callback()
def _every_command(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options before the command's name."""


for _name, (_, _line) in COMMANDS.items():
    app.command(_name, help=_line)(lambda: None)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit with its code. With the compilation cache, programs compile once per machine."""
    for stream in ("stdout", "stderr"):
        if getattr(sys, stream) is None:  # closed by whoever started this process: what is said goes nowhere
            setattr(sys, stream, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  (as long as the process)
    kept = hub.cache_folder() / "compiled"
    own = compiled.use(kept)
    if "jax" not in sys.modules:
        compiled.quickly()
        arenas.few()
    try:
        with wording.as_options():
            app(list(sys.argv[1:] if arguments is None else arguments))
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(output.UNSUPPORTED if isinstance(error, UnsupportedLogError) else 2) from None
    except BrokenPipeError:  # nobody reads what is printed, see stopping.piped
        raise
    except OSError as error:  # a full disk under the standard output, say
        say(f"error: {error.filename or 'the output'}: {error.strerror or error}", to=sys.stderr)
        raise SystemExit(2) from None
    except RuntimeError as error:
        if not str(error).startswith("Unable to initialize backend"):
            raise
        asked = os.environ.get("JAX_PLATFORMS", "")
        say(f"error: JAX_PLATFORMS={asked}: no such platform here; name another, or leave it out", to=sys.stderr)
        raise SystemExit(2) from None
    finally:
        if own and "jax" in sys.modules:
            compiled.mend(kept)
            compiled.bound(kept)
