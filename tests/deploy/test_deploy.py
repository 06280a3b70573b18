"""The files in deploy/: valid, with commands that launch.py takes and plans that fit."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ray
import yaml
from waiting import wait_until

import launch
import spaces
from search.backends.gpu_range import GpuRange
from search.session.job import count_slots
from search.session.options import Options, find_range, merge_stored_resume
from search.session.plan import Machine

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
RAYJOB: Any = yaml.safe_load((DEPLOY / "rayjob.yaml").read_text())
RAY_UP: Any = yaml.safe_load((DEPLOY / "ray-up.yaml").read_text())
SLURM = (DEPLOY / "slurm.sh").read_text()


def commands() -> dict[str, list[str]]:
    """Return the arguments that each file gives to launch.py."""
    comment = re.sub(r"\n#", "\n", (DEPLOY / "ray-up.yaml").read_text())
    exec_ = re.search(r'--stop "(.*?)"', comment, re.DOTALL)
    script = re.search(r'python "\$HOME_OF_CODE/(launch\.py)"(.*?) &\n', SLURM, re.DOTALL)
    assert exec_ and script
    slurm = (script[1] + script[2]).replace(
        '${STORAGE:+--storage "$STORAGE"}', "--storage s3://bucket/runs"
    )
    for name, value in (("$SPACE", "everything"), ("$address:$port", "10.0.0.1:20001")):
        slurm = slurm.replace(name, value)
    found = {
        "rayjob": RAYJOB["spec"]["entrypoint"],
        "ray-up": exec_[1].replace("\\\n", " "),
        "slurm": slurm.replace("\\\n", " "),
    }
    return {name: shlex.split(text.partition("launch.py")[2]) for name, text in found.items()}


@pytest.mark.parametrize("name", commands())
def test_launch_py_takes_the_command_and_runs_it_again_and_again(name):
    context = launch.main.make_context("launch.py", commands()[name])
    given = {
        key: value for key, value in context.params.items() if key not in ("list_", "new_space")
    }
    options = merge_stored_resume(Options(**given))
    assert options.resume_or_start and options.name and options.storage and options.address
    assert options.space in spaces.names()
    allowed = find_range(options)
    assert allowed == (None if name == "slurm" else GpuRange(1.0, 8.0))


def test_the_plan_of_each_command_fits_its_machines():
    """One worker of the RayJob holds four trials, as its command asks for; the head holds none."""
    [group] = RAYJOB["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    machine = Machine("a worker", float(limits["cpu"]), float(limits["nvidia.com/gpu"]))
    types = RAY_UP["available_node_types"]
    other = Machine("a worker", types["gpu"]["resources"]["CPU"], types["gpu"]["resources"]["GPU"])
    scale = spaces.scale("full", cpus=1.0, gpus=0.25)
    for one in (machine, other):
        assert count_slots(Options(address="auto"), scale, one) == 4
    assert RAYJOB["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert types["head"]["resources"] == {"CPU": 0}
    assert group["maxReplicas"] == types["gpu"]["max_workers"] == RAY_UP["max_workers"] == 8


def test_the_ray_job_is_one_and_costs_nothing_when_it_is_done():
    jsonschema.validate(
        RAYJOB, json.loads((Path(__file__).parent / "schema_rayjob.json").read_text())
    )
    spec = RAYJOB["spec"]
    assert spec["shutdownAfterJobFinishes"] is True and spec["activeDeadlineSeconds"]
    assert spec["backoffLimit"] > 0
    assert spec["rayClusterSpec"]["rayVersion"] in (DEPLOY / "rayjob.yaml").read_text()
    pods = [spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]]
    for pod in pods:
        for variable in pod["template"]["spec"]["containers"][0]["env"]:
            is_key = re.search("KEY|SECRET|TOKEN", variable["name"])
            assert ("valueFrom" in variable) == bool(is_key), variable
    names = [[v["name"] for v in p["template"]["spec"]["containers"][0]["env"]] for p in pods]
    assert "WANDB_API_KEY" in names[0] and "WANDB_API_KEY" not in names[1]
    assert "KEY" not in spec.get("runtimeEnvYAML", "")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "shutdownAfterJobFinish"), True),
        (("spec", "backoffLimit"), "10"),
        (("spec", "rayClusterSpec", "headGroupSpec", "rayStartParams"), {"num-cpus": 0}),
        (("spec", "submissionMode"), "Job"),
    ],
)
def test_the_schema_refuses_what_kubernetes_would(path, value):
    wrong = json.loads(json.dumps(RAYJOB))
    inner = wrong
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(
            wrong, json.loads((Path(__file__).parent / "schema_rayjob.json").read_text())
        )


def test_the_cluster_of_ray_up_is_one_by_rays_own_schema():
    schema = Path(ray.__file__).parent / "autoscaler" / "ray-schema.json"
    jsonschema.validate(RAY_UP, json.loads(schema.read_text()))
    assert RAY_UP["idle_timeout_minutes"] <= 10
    assert not re.search(
        r"(?i)(access_key|secret|password)\S*\s*[:=]", (DEPLOY / "ray-up.yaml").read_text()
    )


def test_the_image_holds_all_of_our_code():
    text = (DEPLOY / "Dockerfile").read_text()
    copied = {
        source
        for line in re.findall(r"^COPY (.*)", text, re.MULTILINE)
        for source in line.split()[:-1]
    }
    assert {"adv", "spaces", "search", "launch.py", "pyproject.toml", "README.md"} == copied
    assert all((ROOT / name).exists() for name in copied)
    assert not re.search(r"(?i)(key|token|secret)=", text)


def test_the_slurm_script_is_valid_bash():
    done = subprocess.run(
        ["bash", "-n", DEPLOY / "slurm.sh"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for option in ("--signal=B:USR1@120", "--requeue", "--open-mode=append", "--ntasks-per-node=1"):
        assert f"#SBATCH {option}" in SLURM


SRUN = """#!/bin/bash
while [[ "$1" == -* ]]; do [[ "$1" == -w ]] && shift; shift; done
exec "$@"
"""
SCONTROL = """#!/bin/bash
if [ "$1" = show ]; then echo node1; echo node2; else echo "scontrol $*" >> "$CALLS"; fi
"""
RAY = """#!/bin/bash
echo "ray $*" >> "$CALLS"
while [ "$1" != -- ]; do shift; done
shift
"$@"  # as symmetric-run does, which waits for its command
exit $?
"""
LAUNCH = """import os, signal, sys, time
open(os.environ["CALLS"], "a").write("launch.py " + " ".join(sys.argv[1:]) + "\\n")
if os.environ["MODE"] == "warned":
    signal.signal(signal.SIGUSR1, lambda *_: sys.exit(143))
    open(os.environ["CALLS"] + ".up", "w").close()
    time.sleep(60)
sys.exit(int(os.environ["MODE"]))
"""


@pytest.fixture
def slurm(tmp_path):
    """Start the script where stand-ins of Slurm and Ray are found; the search is a stand-in too."""
    programs = {"srun": SRUN, "scontrol": SCONTROL, "ray": RAY}
    (tmp_path / "bin").mkdir()
    for name, text in programs.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (tmp_path / "bin" / "activate").write_text(f'PATH="{tmp_path}/bin:$PATH"\n')
    (tmp_path / "launch.py").write_text(LAUNCH)
    python = tmp_path / "bin" / "python"
    python.symlink_to(sys.executable)

    def start(mode: str, **settings: str) -> subprocess.Popen[str]:
        environment = {
            **os.environ,
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "SLURM_JOB_NODELIST": "node[1-2]",
            "SLURM_JOB_NUM_NODES": "2",
            "SLURM_CPUS_PER_TASK": "16",
            "SLURM_JOB_ID": "77",
            "USER": os.environ.get("USER", "root"),
            "VENV": str(tmp_path),
            "CALLS": str(tmp_path / "calls"),
            "NAME": f"night-{os.getpid()}",
            "MODE": mode,
            **settings,
        }
        return subprocess.Popen(
            ["bash", str(DEPLOY / "slurm.sh")], env=environment, stdout=subprocess.PIPE, text=True
        )

    return start, tmp_path / "calls"


def test_a_warned_search_is_requeued_with_everything_saved(slurm):
    start, calls = slurm
    job = start("warned")
    wait_until(calls.with_name("calls.up").exists)
    job.send_signal(signal.SIGUSR1)
    output, _ = job.communicate(timeout=60)
    assert job.returncode == 143, output
    said = calls.read_text()
    assert said.endswith("scontrol requeue 77\n")
    assert "symmetric-run" in said and "--min-nodes 2" in said


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_a_search_that_ends_by_itself_is_not_requeued(slurm, code):
    start, calls = slurm
    job = start(str(code), STORAGE="s3://bucket/runs")
    job.communicate(timeout=60)
    assert job.returncode == code
    said = calls.read_text()
    assert "requeue 77" not in said and "--storage s3://bucket/runs" in said
