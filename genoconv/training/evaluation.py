"""From a model and sequences it never saw to perplexities, beside Markov models of every order: one JSON object.

python -m genoconv.training.evaluation MODEL --train train/*.fa --validation validation/*.fa > evaluation.json
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.names import resolve
from genoconv.model.pretrained import load_model
from genoconv.runs.devices import choose_device
from genoconv.training.corpus import is_base, pack_files
from genoconv.training.markov import MarkovModel
from genoconv.training.perplexity import perplexity

CONTEXTS = (1024, 4096, 16_384, 32_768)
HIGHEST_ORDER = 12


def evaluate(
    model: HyenaDNA,
    train: Sequence[str],
    validation: Sequence[str],
    *,
    contexts: Sequence[int] = CONTEXTS,
    order: int = HIGHEST_ORDER,
) -> list[dict[str, Any]]:
    """Perplexities of a model and of Markov models on held-out files.

    The Markov models count both strands of all of `train`; order 12 takes 3 GB while it counts.

    Args:
        model: On the device to compute on.
        train: FASTA files that the model learnt from.
        validation: FASTA files that it did not learn from; each is judged by itself.
        contexts: Lengths of the windows that the model sees.
        order: Highest order of the Markov models.

    Returns:
        For each validation file its name, real bases, `model` (context -> perplexity) and `markov` (by order, from 0).

    Raises:
        InputError: A file cannot be used.
    """
    markov = MarkovModel.fit(pack_files(train), order, both_strands=True)
    rows: list[dict[str, Any]] = []
    for path in validation:
        tokens = pack_files([path])
        rows.append(
            {
                "name": Path(path).name.partition(".fa")[0],
                "bases": int(is_base(tokens).sum()),
                "model": {str(context): perplexity(model, tokens, context=context) for context in contexts},
                "markov": markov.perplexities(tokens),
            }
        )
    return rows


def main() -> None:
    """The command line of the evaluation."""
    parser = argparse.ArgumentParser(prog="python -m genoconv.training.evaluation", description=__doc__.splitlines()[0])
    parser.add_argument("model", help="as after --model of genoconv embed")
    parser.add_argument("--train", nargs="+", required=True, metavar="FASTA", help="what the model learnt from")
    parser.add_argument("--validation", nargs="+", required=True, metavar="FASTA", help="what it did not learn from")
    parser.add_argument("--order", type=int, default=HIGHEST_ORDER, help="highest order of the Markov models")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    model = load_model(resolve(options.model).path, device=choose_device(options.device))
    rows = evaluate(model, options.train, options.validation, order=options.order)
    json.dump(rows, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
