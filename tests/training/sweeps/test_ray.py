"""A sweep on a Ray cluster of two nodes, one of which is killed in mid-sweep: nothing lost, nothing run twice."""

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from letter_game import write_letters
from small_sweeps import Here, measured, plan, workers_of

from training.design.plan import RunGrid
from training.errors import MachineError
from training.policies.checkpoint import latest_checkpoint
from training.sweeps import jobs
from training.sweeps.sweep import Sweep

os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # what is started here listens on this machine alone
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
ray = pytest.importorskip("ray")
LOCAL = """
import os, sys
from training.sweeps.ray import Cluster
Cluster("local")
import ray
print(ray.get_runtime_context().gcs_address, os.environ["RAY_USAGE_STATS_ENABLED"], flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def cluster():
    from ray.cluster_utils import Cluster as Nodes

    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    try:
        yield nodes
    finally:
        ray.shutdown()
        nodes.shutdown()


@pytest.mark.slow
def test_a_node_that_dies_costs_no_run(cluster, tmp_path):
    from training.sweeps.ray import Cluster

    data = write_letters(tmp_path / "shards")
    run = {"data": str(data), "batch_size": 2, "unroll_length": 8, "max_epochs": 1e4, "heldout_frames": 100}
    runs = RunGrid(grid={3e8: [1e4, 2e4, 4e4], 6e10: [2e4], 6.2e10: [4e4]}, run=run).runs
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    sweep = Sweep.of(runs, tmp_path / "sweep", say=print)
    executor = Cluster(cluster.address, retries=3)
    assert "num_gpus" not in executor.options(sweep.runs[0].job)
    killed = []

    def kill_in_mid_sweep():
        """The second node, when two runs train, which have a row and a checkpoint each: one of them is on it."""
        training = [r for r in sweep.runs[1:] if r.state == "running" and r.progress.get("update", 0) > 12]
        if not killed and len(training) == 2:
            killed.append(time.monotonic())
            cluster.remove_node(second, allow_graceful=False)

    sweep.go(executor, kill_in_mid_sweep)
    assert killed, "the sweep ended before a node could be killed"
    assert (sweep.count("finished"), sweep.count("failed")) == (3, 0)
    rows = pd.read_csv(sweep.folder / "runs.csv")
    assert len(rows) == 5
    assert not rows.duplicated(["run", "update"]).any()
    logs = [(r.job.folder / "log.txt").read_text() for r in sweep.runs]
    assert sum("FLOPs: held-out loss" in line for log in logs for line in log.splitlines()) == 5  # each measured once
    # On a busy machine it may end before its worker hears that the node is gone, and nothing is left to go on with.
    assert sum("goes on after update" in log for log in logs) <= 1
    for r in sweep.runs:
        assert latest_checkpoint(r.job.folder / "checkpoints")[0].update == r.job.config.updates


@pytest.mark.slow
def test_a_worker_on_ray_that_dies_at_any_moment_costs_nothing(cluster, data, tmp_path):
    from training.sweeps.ray import Cluster

    runs = plan(data, budgets=(3e9, 6e9), sizes=(1e4,)).runs
    Sweep.of(runs, tmp_path / "undisturbed").go(Here())
    for number, moment in enumerate(np.random.default_rng(0).uniform(0, 8, 6)):  # seconds after its start
        sweep, begun, victims = Sweep.of(runs, tmp_path / str(number), say=print), [], []

        def kill(sweep=sweep, moment=moment, begun=begun, victims=victims):
            workers = workers_of(sweep.folder)
            begun += [time.monotonic()] if workers and not begun else []
            if begun and not victims and workers and time.monotonic() - begun[0] >= moment:
                victims += workers
                os.kill(workers[0], signal.SIGKILL)

        sweep.go(Cluster(cluster.address), kill)
        assert sweep.count("finished") == 1
        pd.testing.assert_frame_equal(measured(sweep.folder), measured(tmp_path / "undisturbed"))


def listening(pids: set[int]) -> set[str]:
    """Addresses in hex, as the kernel lists them, on which these processes wait for connections."""
    sockets = set()
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            with contextlib.suppress(OSError):
                sockets.add(os.readlink(descriptor))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and f"socket:[{cells[9]}]" in sockets:
                found.add(cells[1].split(":")[0])
    return found


def test_ray_started_by_us_is_heard_on_this_machine_alone():
    dropped = ("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_USAGE_STATS_ENABLED", "RAY_ADDRESS")
    environment = {name: value for name, value in os.environ.items() if name not in dropped}
    with subprocess.Popen(
        [sys.executable, "-c", LOCAL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout
        address, usage = process.stdout.readline().split()
        pids, waiting = set(), [process.pid]
        while waiting:
            pids.add(pid := waiting.pop())
            waiting += map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
        heard = listening(pids)
        process.communicate("end\n")
    assert address.startswith("127.0.0.1:")
    assert usage == "0"
    assert heard
    assert heard <= {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def test_where_a_cluster_has_gpus_each_run_asks_for_its_share(cluster, tmp_path):
    """They are named alone: no such card is here, so its memory is unknown and a run takes the whole of it."""
    from training.sweeps.ray import Cluster

    cluster.add_node(num_cpus=1, num_gpus=1)
    cluster.wait_for_nodes()
    job = Sweep.of(RunGrid(grid={3e8: [1e4]}, run={"batch_size": 2, "unroll_length": 8}).runs, tmp_path).runs[0].job
    asked = Cluster(cluster.address).options(job)
    assert (asked["num_gpus"], asked["num_cpus"]) == (1.0, 1)
    ray.shutdown()
    assert Cluster(cluster.address, gpu_share=0.25).options(job)["num_gpus"] == 0.25


def test_a_lost_task_is_tried_again_and_a_bug_is_not(cluster):
    from training.sweeps.ray import Cluster

    executor = Cluster(cluster.address)

    def bug():
        raise ValueError("a bug")

    def full():
        raise OSError(errno.ENOSPC, "No space left on device")

    def lost():
        os._exit(1)

    tasks = [ray.remote(function).options(max_retries=0).remote() for function in (bug, full, lost)]
    ended = [executor._result(task) for task in tasks]
    assert [one.code for one in ended] == [jobs.BUG, jobs.MACHINE, jobs.MACHINE]
    assert ended[0].words == "ValueError: a bug"
    assert "No space left" in ended[1].words
    assert ended[2].words


def test_a_cluster_that_does_not_answer_is_one_sentence():
    from training.sweeps.ray import Cluster

    with pytest.raises(MachineError, match=r"no Ray cluster answers at '127\.0\.0\.1:1'"):
        Cluster("127.0.0.1:1")


def test_a_job_takes_its_share_of_a_gpu():
    from training.sweeps.ray import gpu_share

    assert [gpu_share(m, 80.0) for m in (1.0, 20.0, 20.1, 500.0)] == [0.02, 0.25, 0.26, 1.0]
    assert gpu_share(20.0, 0.0) == 1.0
