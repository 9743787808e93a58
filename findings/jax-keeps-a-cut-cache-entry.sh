#!/usr/bin/env bash
# jax==0.10.2, persistent compilation cache: an entry that was cut short while it was written stays for ever. JAX writes
# an entry in place, not beside it to be renamed, so a disk that is full for a moment, or a kill, leaves its first bytes.
# Every later process warns "Error reading persistent compilation cache entry", compiles the program anew, and leaves
# the entry as it is, because its file exists: it is slower for ever, until somebody removes the file by hand. Empty
# files do the same. With jax_raise_persistent_cache_errors it is an error in every process, and with
# jax_compilation_cache_max_size each failed reading counts as a use, so that the entry is evicted last. jax 0.12.0.1
# does the same.
# Below one process runs while files may have 1024 bytes at most, and three without that limit. Seen: "compiled, could
# not write", three times "compiled, could not read", and after the file was removed "compiled", then "found".
# Exits with 0 while this is so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/python" -m pip install --quiet --disable-pip-version-check jax==0.10.2
cat > "$folder/run.py" <<'PY'
import warnings

import jax
import jax.numpy as jnp

found = []
jax.monitoring.register_event_listener(lambda event, **_: found.append(event.endswith("/cache_hits")))
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    jax.jit(lambda x: jnp.sin(x) + 41).lower(jax.ShapeDtypeStruct((3,), jnp.float32)).compile()
said = {w: any(f"Error {w} persistent compilation cache entry" in str(t.message) for t in told) for w in ("reading", "writing")}
print("found" if any(found) else "compiled", end="")
print(", could not read" if said["reading"] else "", ", could not write" if said["writing"] else "", sep="")
PY
export JAX_PLATFORMS=cpu JAX_COMPILATION_CACHE_DIR="$folder/cache"
export JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS=0 JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES=none
run() { "$folder/env/bin/python" -B "$folder/run.py"; }
sizes() { stat -c %s "$folder"/cache/*-cache; }

full=$(ulimit -f 1; run)
echo "files of 1024 bytes at most: $full"
cut=$(sizes)
for i in 1 2 3; do
  later=$(run)
  echo "later process $i:             $later, entry of $(sizes) bytes"
  [[ $later == "compiled, could not read" && $(sizes) == "$cut" ]]
done
rm "$folder"/cache/*-cache
first=$(run) second=$(run)
echo "the file removed:            $first, then $second, entry of $(sizes) bytes"
[[ $full == "compiled, could not write" && $cut == 1024 && $first == compiled && $second == found ]]
