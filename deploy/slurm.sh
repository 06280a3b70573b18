#!/bin/bash
# A search on Slurm. It is requeued two minutes before its time is up, and goes on where it was.
#
#   sbatch deploy/slurm.sh                     # or: NAME=other SPACE=rse_sigmas sbatch deploy/slurm.sh
#
# docs/cluster.md explains it. The folder in which it is submitted has to be on a disk that all nodes
# share; with STORAGE=s3://BUCKET/runs it has not.
#SBATCH --job-name=robustune
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=12:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -uo pipefail

NAME=${NAME:-night}
SPACE=${SPACE:-everything}
STORAGE=${STORAGE:-}                            # s3://BUCKET/runs, gs://BUCKET/runs, or nothing
HOME_OF_CODE=${HOME_OF_CODE:-$SLURM_SUBMIT_DIR} # of launch.py
VENV=${VENV:-$HOME_OF_CODE/.venv}               # the same on all nodes
source "$VENV/bin/activate"                     # symmetric-run calls `ray` by its name

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
address=$(srun --nodes=1 --ntasks=1 -w "$head" hostname -I | awk '{print $1}')
port=$((20000 + SLURM_JOB_ID % 20000))          # two jobs may share a node

# Whoever reaches the port of a cluster can run code on it, so it asks for a token.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
export RAY_TMPDIR=${RAY_TMPDIR:-/tmp} RAY_USAGE_STATS_ENABLED=0

# Only launch.py is warned, not what starts it: Ray has to live until everything is saved.
warned=
warn() {
    warned=yes
    echo "$(date): time is nearly up, saving"
    srun --overlap --nodes=1 --ntasks=1 -w "$head" \
        pkill -USR1 -u "$USER" -f "^[^ ]*python[^ ]* [^ ]*launch\.py .*--name $NAME( |\$)"
}
trap warn USR1

srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
    ray symmetric-run --address "$address:$port" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" -- \
    python "$HOME_OF_CODE/launch.py" --space "$SPACE" --address "$address:$port" \
    --gpus-per-trial 0.25 --cpus-per-trial 1 ${STORAGE:+--storage "$STORAGE"} \
    --name "$NAME" --resume-or-start &
step=$!
wait "$step"
status=$?
if [ -n "$warned" ]; then                       # the signal has ended the wait, not the search
    wait "$step"
    status=$?
fi

echo "$(date): ended with status $status"
if [ "$status" -eq 143 ]; then                  # warned or terminated, with everything saved
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
