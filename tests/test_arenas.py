"""Threads of a command share a few arenas of glibc's allocator."""

import os
import platform
import subprocess
import sys

import pytest

from jaxroute.system import arenas

COUNTED = """
import ctypes, sys, threading
from jaxroute.system import arenas
taken = arenas.few() if sys.argv[1] == "few" else None
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
barrier = threading.Barrier(8)
def allocate():
    libc.malloc(ctypes.c_size_t(1000))
    barrier.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[2].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
print(taken, open(sys.argv[2]).read().count("<heap nr="))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have no arenas")
def test_few_limits_the_arenas_of_a_process_and_leaves_what_the_environment_says(tmp_path):
    plain = {name: value for name, value in os.environ.items() if name not in ("MALLOC_ARENA_MAX", "GLIBC_TUNABLES")}

    def counted(how, **said):
        code = [sys.executable, "-c", COUNTED, how, str(tmp_path / "info.xml")]
        return subprocess.run(code, env=plain | said, check=True, capture_output=True, text=True).stdout.split()

    taken, limited = counted("few")
    assert taken == "True"
    assert int(limited) == arenas.ARENAS
    assert int(counted("many")[1]) > arenas.ARENAS
    assert counted("few", MALLOC_ARENA_MAX="4") == ["False", "4"]
    assert counted("few", GLIBC_TUNABLES="glibc.malloc.arena_max=5") == ["False", "5"]
