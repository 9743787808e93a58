"""Shards of a sweep as tasks on a Ray cluster of two nodes; where Ray is not installed, there is nothing to test."""

import pandas as pd
import pytest

from experiments import on_ray
from experiments.checks import torture
from jaxroute.types import InputError

ray = pytest.importorskip("ray")
pytestmark = [pytest.mark.study, pytest.mark.filterwarnings("ignore")]  # the warnings are Ray's own


@pytest.fixture(scope="module")
def cluster():
    """Two nodes of one processor each, so that two shards run at a time and on different nodes."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()


def test_two_workers_make_the_table_of_one_process(cluster, tmp_path):
    config = tmp_path / "torture.py"
    config.write_text(torture.CONFIG)
    process = torture.launch(config, tmp_path / "undivided")
    process.join()
    assert process.exitcode == 0
    said = on_ray.run(2, ["--config", str(config), "--out", str(tmp_path / "ray")])
    assert "8 routers; best setting per cost weight" in said
    (merged,) = (path for path in (tmp_path / "ray").glob("*/*/results.parquet"))
    pd.testing.assert_frame_equal(pd.read_parquet(merged), torture.table(tmp_path / "undivided"), check_exact=True)


def test_a_shard_that_fails_is_said(cluster, tmp_path):
    with pytest.raises(InputError, match=r"shard 1/2: no config 'none'.*run the same command again"):
        on_ray.run(2, ["--config", "none", "--out", str(tmp_path)])
