"""The whole evaluation on one page: tasks and models -> labelled sequences -> features -> verdicts -> rows."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from genoconv.errors import InputError
from genoconv.evaluation import logistic, nearest
from genoconv.evaluation.counts import kmer_shares, one_hot
from genoconv.evaluation.judging import Judge, Verdict
from genoconv.evaluation.labelled import Labelled, read_labelled
from genoconv.evaluation.splits import INNER_FOLDS, Split, cross_validation, held_out
from genoconv.evaluation.states import Matrix, views
from genoconv.evaluation.table import Row
from genoconv.evaluation.tasks import Task
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.names import resolve
from genoconv.model.pretrained import load_model
from genoconv.training.corpus import pack
from genoconv.training.markov import MarkovModel
from genoconv.training.perplexity import perplexity
from genoconv.training.start import new_model

MARKOV_ORDER = 8
PERPLEXITY_CONTEXT = 1 << 15


@dataclass(frozen=True, slots=True)
class Subject:
    """A model to evaluate.

    Attributes:
        name: For the table.
        model: On the device to compute on.
    """

    name: str
    model: HyenaDNA


def load_subjects(names: Sequence[str], device: torch.device) -> list[Subject]:
    """Models by name, each followed by its like with random weights: what the shape alone gives."""
    subjects = []
    for name in names:
        model = load_model(resolve(name).path, device=device)
        subjects += [Subject(name, model), Subject(f"{name}, random weights", new_model(model.config, 0).to(device))]
    return subjects


def evaluate(
    tasks: Sequence[Task],
    subjects: Sequence[Subject],
    device: torch.device,
    *,
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[Row]:
    """Answer each task with counts, then with each model.

    Args:
        tasks: Questions.
        subjects: Models.
        device: Where to compute.
        tell: Told what is being done.

    Raises:
        InputError: A file cannot be used, or holds too little to tell anything apart.
    """
    for task in tasks:
        tell(f"{task.name}: {task.file.name}")
        learnt, tested = read_labelled(task.file, task.columns), None
        if task.test is not None:
            tested = read_labelled(task.test, task.columns)
            known = set(learnt.sequences)
            shared = sum(sequence in known for sequence in tested.sequences)
            if shared:
                tell(
                    f"{task.name}: {shared} of {len(tested)} test sequences are, letter for letter, in {task.file.name}"
                )
        if task.method == "perplexity":
            yield from _perplexities(task, learnt, subjects)
        else:
            yield from _accuracies(task, learnt, tested, subjects, device, tell)


def _accuracies(
    task: Task,
    learnt: Labelled,
    tested: Labelled | None,
    subjects: Sequence[Subject],
    device: torch.device,
    tell: Callable[[str], None],
) -> Iterator[Row]:
    sequences, labels, split = _divided(task, learnt, tested)
    predict = logistic.predict if task.method == "probe" else nearest.predict
    judged = split.judged[:, 0].any(axis=0)
    empty = Row(
        task=task.name, method=task.method, features="", chosen="", metric="accuracy", value=0.0, error=0.0,
        classes=int(labels.max()) + 1, records=int(judged.sum()),
        bases=sum(len(sequences[row]) for row in np.flatnonzero(judged).tolist()),
    )  # fmt: skip

    def row(features: str, verdict: Verdict, chosen: str = "") -> Row:
        return replace(empty, features=features, chosen=chosen, value=verdict.accuracy, error=verdict.error)

    yield replace(empty, features="always the commonest label", value=_commonest(labels, split))
    judge, counts = Judge(labels, split, predict, device), _counts(task, sequences)
    for name, matrix in counts.items():
        judge.add(name, matrix)
        yield row(name, judge.verdict([name]))
    words = f"{task.kmers[-1]}-mers"
    for subject in subjects:
        tell(f"{task.name}: {subject.name}")
        matrices, names = dict[str, Matrix](), dict[str, list[str]]()
        judge.trials.clear()
        for (view, layer), matrix in views(subject.model, sequences, task.views, task.site).items():
            name = f"{view}, layer {layer}"
            matrices[name] = matrix
            names.setdefault(view, []).append(name)
            judge.add(name, matrix)
        best = judge.verdict(list(matrices))
        yield row(subject.name, best, best.commonest)
        for view, own in names.items():
            verdict = judge.verdict(own)
            yield row(f"{subject.name}: {view}", verdict, verdict.commonest)
        yield row(f"{subject.name} + {words}", judge.joined(best.chosen, matrices, counts[words]), best.commonest)


def _counts(task: Task, sequences: Sequence[bytes]) -> dict[str, Matrix]:
    """What is put beside the models."""
    counts: dict[str, Matrix] = {}
    for k in task.kmers:
        counts[f"{k}-mers"] = kmer_shares(sequences, k)
        if task.method == "nearest":
            counts[f"{k}-mers of both strands"] = kmer_shares(sequences, k, both_strands=True)
    if task.one_hot:
        counts[f"one-hot of {task.one_hot} bases"] = one_hot(sequences, task.one_hot, task.site)
    return counts


def _divided(task: Task, learnt: Labelled, tested: Labelled | None) -> tuple[list[bytes], NDArray[np.int64], Split]:
    """All sequences, their labels as numbers, and who learns from whom."""
    sequences = [*learnt.sequences, *(tested.sequences if tested else ())]
    names = np.concatenate([learnt.labels, tested.labels]) if tested else learnt.labels
    groups = np.concatenate([learnt.groups, tested.groups]) if tested else learnt.groups
    kinds, labels = np.unique(names, return_inverse=True)
    new = set(names.tolist()) - set(learnt.labels.tolist())
    if new:
        raise InputError(f"label {min(new)!r} is in the test file only", where=f"task {task.name}, {task.test}")
    needed = task.folds if tested is None else INNER_FOLDS
    if len(kinds) < 2 or len(set(learnt.groups.tolist())) < needed:
        found = f"{len(kinds)} labels in {len(set(learnt.groups.tolist()))} groups"
        raise InputError(
            f"too little to learn from: {found}, at least 2 and {needed} are needed",
            where=f"task {task.name}, {task.file}",
        )
    if tested is None:
        return sequences, labels, cross_validation(labels, groups, task.folds)
    return sequences, labels, held_out(labels, groups, np.arange(len(labels)) < len(learnt))


def _commonest(labels: NDArray[np.int64], split: Split) -> float:
    """Accuracy of the label that is commonest among the training records of each fold."""
    right = [
        labels[judged[0]] == np.bincount(labels[train[0]]).argmax()
        for train, judged in zip(split.train, split.judged, strict=True)
    ]
    return float(np.concatenate(right).mean())


def _perplexities(task: Task, given: Labelled, subjects: Sequence[Subject]) -> Iterator[Row]:
    """Of all records of a label; Markov models learn from one half of its records to judge the other."""
    for label in np.unique(given.labels).tolist():
        own = [sequence for sequence, other in zip(given.sequences, given.labels, strict=True) if other == label]
        packed = [pack(sequence)[0] for sequence in own]
        tokens = np.concatenate(packed)
        empty = Row(
            task=task.name, method="perplexity", features="", chosen=label, metric="perplexity", value=0.0, error=0.0,
            classes=len(set(given.labels.tolist())), records=len(own), bases=sum(map(len, own)),
        )  # fmt: skip
        if len(packed) > 1:
            halves = [np.concatenate(packed[first::2]) for first in (0, 1)]
            found = [
                np.log(MarkovModel.fit(one, MARKOV_ORDER, both_strands=True).perplexities(other))
                for one, other in (halves, halves[::-1])
            ]
            orders = np.exp(np.average(found, axis=0, weights=[len(halves[1]), len(halves[0])]))
            best = int(orders.argmin())
            yield replace(empty, features=f"best Markov model (order {best})", value=float(orders[best]))
        longest = min(PERPLEXITY_CONTEXT, max(map(len, packed)) + 1)
        for subject in subjects:
            value = perplexity(subject.model, tokens, context=longest)
            yield replace(empty, features=subject.name, value=value)
