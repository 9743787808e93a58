"""A sweep on a Ray cluster: its shards as tasks wherever there is room, then the merge.

    python -m experiments.on_ray --shards 8 --config sweep --out /shared/results

Shards need no collective, so Ray is the scheduler alone: a task is the command that one would type there. All nodes
need this checkout at the same path, its environment, and ``--out`` on a disk that they share. A task whose node is lost
is started again, and continues from its checkpoint.
"""

from __future__ import annotations

import subprocess
import sys

from experiments import source
from jaxroute.system import parsing
from jaxroute.types import InputError


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "experiments.sweep", *words]


def run(shards: int, words: list[str], *, cpus: float = 1, gpus: float = 0) -> str:
    """Run a sweep's shards on the cluster that Ray is connected to (else on this machine), and merge them here.

    Args:
        shards: how many. words: the sweep's own options. cpus, gpus: that Ray keeps for each shard.

    Returns:
        What the merge prints.

    Raises:
        InputError: Ray is not installed, or a shard or the merge failed; with its last words.
    """
    try:
        import ray
    except ImportError:
        raise InputError("Ray is not installed; run pip install 'ray[default]' in this environment") from None
    if not ray.is_initialized():
        ray.init()

    @ray.remote(num_cpus=cpus, num_gpus=gpus)
    def shard(own: list[str]) -> tuple[int, str]:
        done = subprocess.run(own, cwd=source.ROOT, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    tasks = [shard.remote(command(*words, "--shard", f"{i}/{shards}")) for i in range(1, shards + 1)]
    for i, (status, said) in enumerate(ray.get(tasks), 1):
        _checked(f"shard {i}/{shards}", status, said)
    done = subprocess.run(command("merge", *words), cwd=source.ROOT, capture_output=True, text=True, check=False)
    _checked("the merge", done.returncode, done.stderr)
    return done.stdout


def _checked(what: str, status: int, said: str) -> None:
    if status:
        last = (said.strip().splitlines() or [f"exit status {status}"])[-1]
        raise InputError(f"{what}: {last.removeprefix('error: ')}; run the same command again, finished parts are kept")


def main(arguments: list[str] | None = None) -> int:
    from experiments import commands

    about = f"{__doc__.splitlines()[0]} All other options are those of experiments.sweep."
    parser = parsing.Parser(prog="python -m experiments.on_ray", description=about)
    parser.add_argument("--shards", type=int, required=True, help="how many parts the sweep is divided into")
    parser.add_argument("--cpus", type=float, default=1, help="processors that Ray keeps for each shard")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs that Ray keeps for each shard")
    options, words = parser.parse_known_args(arguments)
    return commands.exit_code(lambda: print(run(options.shards, words, cpus=options.cpus, gpus=options.gpus)))


if __name__ == "__main__":
    sys.exit(main())
