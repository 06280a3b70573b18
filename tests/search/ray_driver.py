"""Run a search on Ray in a process of its own, with no more than launch.py does for it.

python ray_driver.py FOLDER '{"trials": 6, "epochs": 4, ...}'
exits with status 0, or with that of Interrupted.
"""

import json
import os
import sys
from pathlib import Path

from formula_runs import SPACE, Formula

from search.backends import ray_tune, ray_watch
from search.backends.node_needs import NodeNeeds
from search.backends.ray_imports import ray
from search.backends.ray_nodes import read_versions
from search.interrupt import Interrupt, Interrupted
from search.record.ledger import Ledger
from search.stopping.moasha import MOASHA
from search.study import Study

STOPPER = MOASHA(margin=0.0, min_finished=2, audit=0.2, min_correlation=-1.0)
ROOT = Path(__file__).parent.parent.parent


def refuse_all_but_the_head() -> str:
    here = ray.get_runtime_context().get_node_id()
    head = next(n for n in ray.nodes() if "node:__internal_head__" in n["Resources"])
    return "" if here == head["NodeID"] else "is on fire"


def main(folder: Path, settings: dict) -> int:
    folder.mkdir(exist_ok=True)
    ledger = Ledger(folder / "ledger.jsonl")
    ledger.append("session", pid=os.getpid())
    rung = settings.get("rung", 0)
    study = Study(
        SPACE,
        ledger,
        trials=settings.get("trials", 6),
        seed=0,
        stopper=STOPPER if rung else None,
    )
    mishaps = {int(seed): kind for seed, kind in settings.get("mishaps", {}).items()}
    gate = folder / "gate" if settings.get("gate") else None
    run = Formula(settings.get("epochs", 4), settings.get("pause", 0.0), mishaps, gate, rung=rung)
    ray_watch.SILENCE = settings.get("silence", ray_watch.SILENCE)
    interrupt = Interrupt()
    code = 0
    with (
        interrupt.handle_signals()
    ):  # to the very end: a second signal ends what does not end by itself
        try:
            found = ray_tune.connect(settings.get("address"), project=ROOT)
            needs = NodeNeeds(read_versions(), refuse_all_but_the_head, gpu=False)
            resources = ray_tune.Resources(
                *(settings.get("cpus", 1.0), 0.0, settings.get("concurrent", 2)),
                needs=needs if settings.get("fire") else None,
            )
            ledger.append("connected", nodes=found.nodes, cpus=found.cpus)
            ray_tune.search(study, run, interrupt, resources)
        except Interrupted as error:
            code = error.code
            (folder / "reason").write_text(error.reason)
        except ray_tune.ClusterError as error:
            code = 1
            (folder / "error").write_text(str(error))
        finally:
            if not interrupt.lost:
                ray_tune.disconnect()
        ledger.append("end", code=code)
        if interrupt.lost:
            ray_tune.abandon(code)
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), json.loads(sys.argv[2])))
