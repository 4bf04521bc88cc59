"""The built-in model is what its card says, and better than counting on DNA that it never saw."""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from genoconv.inputs.fasta import LetterPolicy, Record, read_fasta
from genoconv.model.names import BUILTIN_FOLDER, DEFAULT_MODEL
from genoconv.model.pretrained import load_model
from genoconv.training.corpus import pack
from genoconv.training.markov import MarkovModel
from genoconv.training.perplexity import perplexity
from genoconv.training.settings import Settings
from genoconv.training.sources import SOURCES

FOLDER = BUILTIN_FOLDER / DEFAULT_MODEL
CARD = (FOLDER / "CARD.md").read_text()
HELD_OUT = Path(__file__).parents[1] / "data" / "human_chr20_held_out_50kb.fa.gz"


def shipped(name: str) -> Any:
    return json.loads((FOLDER / name).read_text())


def table_rows(first: str) -> list[list[str]]:
    """The cells of the card's table rows that begin with some words."""
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in CARD.splitlines() if line.startswith("|")]
    return [row[1:] for row in rows if row[0].startswith(first)]


def test_the_weights_are_small_and_of_the_shape_that_the_card_and_the_log_name() -> None:
    settings = Settings.from_dict(shipped("training.json")["settings"])
    model = load_model(FOLDER)
    config = model.config
    assert (FOLDER / "model.safetensors").stat().st_size <= 8_000_000
    assert (config.d_model, config.n_layer, config.d_inner, config.l_max) == (
        settings.d_model, settings.n_layer, settings.d_inner, settings.l_max,
    )  # fmt: skip
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert f"{weights:,} weights" in CARD
    assert all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values())


def test_the_numbers_of_the_run_are_those_of_its_log() -> None:
    training = shipped("training.json")
    lines = [json.loads(line) for line in (FOLDER / "log.jsonl").read_text().splitlines()]
    assert lines[0]["settings"] == training["settings"]
    assert {name: lines[-1][name] for name in training["result"]} == training["result"]
    settings, result = Settings.from_dict(training["settings"]), training["result"]
    assert settings.bases_until(settings.steps) == result["bases"]
    assert f"{settings.steps:,} steps of {settings.batch_bases:,} bases: {result['bases'] / 1e6:.0f} million" in CARD
    assert f"{result['seconds']:.0f} s" in CARD
    assert f"--steps {settings.steps} " in CARD


def test_the_perplexities_of_the_card_are_those_measured() -> None:
    evaluation = shipped("evaluation.json")
    contexts = [f"{int(context):,}" for context in evaluation[0]["model"]]
    assert contexts == ["1,024", "4,096", "16,384", "32,768"]
    for context, key in zip(contexts, evaluation[0]["model"], strict=True):
        assert table_rows(f"genoconv-mini, context {context}") == [[f"{row['model'][key]:.3f}" for row in evaluation]]
    markov = table_rows("Markov order")
    assert markov == [[f"{row['markov'][order]:.3f}" for row in evaluation] for order in range(1, 13)]
    assert evaluation[0]["model"]["32768"] == pytest.approx(shipped("training.json")["result"]["perplexity"], rel=1e-6)


def test_it_beats_every_markov_model_and_gains_from_context() -> None:
    for row in shipped("evaluation.json"):
        assert row["model"]["1024"] < min(row["markov"])
        assert row["model"]["16384"] < row["model"]["1024"]


def test_the_data_of_the_card_is_that_of_the_recipe() -> None:
    recipe = shipped("recipe.json")
    assert shipped("training.json")["train"]["bases"] == recipe["train_bases"]
    assert f"{recipe['train_bases'] / 1e6:.1f} million bases of {len(recipe['organisms'])} organisms" in CARD
    assert f"{recipe['human_share']:.1%} of them human" in CARD
    for entry in recipe["organisms"]:
        assert table_rows(entry["organism"])[0][0] == f"{entry['bases'] / 1e6:.2f}"
    files = {(file["package"], file["path"]) for entry in recipe["organisms"] for file in entry["sources"]}
    assert files == {(source.package, source.path) for source in SOURCES}
    assert recipe["validation"][0]["ranges"] == ["20:60000001-63025520"]
    assert "human genome" not in CARD


def test_held_out_human_dna_is_predicted_better_than_by_its_own_order_3_counts() -> None:
    (record,) = read_fasta([HELD_OUT], LetterPolicy())
    assert isinstance(record, Record)
    assert record.id == "chr20:61000001-61050000"
    tokens, _ = pack(record.sequence)
    assert len(tokens) == 50_001
    # Fitted on the very piece that it is judged by: better than any order-3 model fitted elsewhere.
    baseline = MarkovModel.fit(tokens, 3).perplexities(tokens)[3]
    assert perplexity(load_model(FOLDER), tokens[:16_385], context=4096) < baseline - 0.1


def test_the_held_out_piece_is_inside_what_was_held_out() -> None:
    header = gzip.decompress(HELD_OUT.read_bytes()).split(b"\n", 1)[0]
    assert b"chr20:61000001-61050000" in header
    begin, end = next(source.held_out["20"] for source in SOURCES if "20" in source.held_out)
    assert np.all([begin <= 61_000_000, end >= 61_050_000])
