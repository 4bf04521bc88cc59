#!/bin/bash
# Measures the model and whole runs on the GPU of this machine: gpu.sh NAME [FASTA...], from the repository's root.
# Each step's table goes to stdout and to tests/benchmarks/results; one that fails does not end the others.
set -uo pipefail

name=${1:?usage: gpu.sh NAME [FASTA...]}
shift
results=${RESULTS:-tests/benchmarks/results}
python=${PYTHON:-python}

measure() {
    echo "== bench embed $*"
    "$python" -m genoconv bench embed "$@" || { echo "failed with exit code $?"; failed=1; }
}

failed=0
measure --csv "$results/embed_$name.csv"
# A bound that 4,194,304 bases have to keep as well.
measure --lengths 4194304 --max-memory 24G --no-plain --csv "$results/embed_24g_$name.csv"
for fasta in "$@"; do
    file=$(basename "$fasta")
    measure "$fasta" --csv "$results/flow_${file%%.*}_$name.csv"
done
exit $failed
