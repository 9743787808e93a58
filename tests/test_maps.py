"""Compiled programs are let go before a process has no memory maps left for them."""

import subprocess
import sys

import pytest

from jaxroute.system import maps

LINUX = pytest.mark.skipif(not maps.MAPS.exists(), reason="only Linux limits a process's memory maps")

PROGRAM = """
import jax, jax.numpy as jnp
from jaxroute.system import maps

def used():
    return maps.MAPS.read_bytes().count(b"\\n")

def compiled(size):
    return jax.jit(lambda x: jnp.sort(x @ x))(jnp.eye(size))

compiled(1)  # the devices and the compiler have maps of their own, which stay
before = used()
for size in range(2, 20):
    compiled(size)
grown = used()
assert not maps.make_room(10 * grown)
assert maps.make_room(grown)
print(before, grown, used())
"""


@LINUX
def test_programs_are_let_go_where_they_hold_half_of_the_maps():
    said = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    before, grown, after = map(int, said.split())
    assert after - before < 0.75 * (grown - before)


def test_where_nothing_limits_maps_nothing_is_done(monkeypatch, tmp_path):
    monkeypatch.setattr(maps, "GRANTED", tmp_path / "none")
    assert not maps.make_room()
