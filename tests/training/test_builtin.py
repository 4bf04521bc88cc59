"""The built-in models are what their cards say, and better than counting on DNA that they never saw."""

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

HELD_OUT = Path(__file__).parents[1] / "data" / "human_chr20_held_out_50kb.fa.gz"
MODELS = sorted(folder.name for folder in BUILTIN_FOLDER.iterdir())
LARGEST_WHEEL = 16_000_000
"""Bytes that all built-in models may take together."""


def shipped(name: str, file: str) -> Any:
    return json.loads((BUILTIN_FOLDER / name / file).read_text())


def card(name: str) -> str:
    return (BUILTIN_FOLDER / name / "CARD.md").read_text()


def table_rows(name: str, first: str) -> list[list[str]]:
    """The cells of the card's table rows that begin with some words."""
    lines = [line for line in card(name).splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row[1:] for row in rows if row[0].startswith(first)]


def test_mini_is_the_default_and_all_fit_into_the_wheel() -> None:
    assert DEFAULT_MODEL == "genoconv-mini"
    sizes = {name: (BUILTIN_FOLDER / name / "model.safetensors").stat().st_size for name in MODELS}
    assert sizes[DEFAULT_MODEL] <= 8_000_000
    assert sum(sizes.values()) <= LARGEST_WHEEL


@pytest.mark.parametrize("name", MODELS)
def test_the_weights_are_of_the_shape_that_the_card_and_the_log_name(name: str) -> None:
    settings = Settings.from_dict(shipped(name, "training.json")["settings"])
    model = load_model(BUILTIN_FOLDER / name)
    config = model.config
    assert (config.d_model, config.n_layer, config.d_inner, config.l_max) == (
        settings.d_model, settings.n_layer, settings.d_inner, settings.l_max,
    )  # fmt: skip
    weights = sum(parameter.numel() for parameter in model.parameters())
    assert f"{weights:,} weights" in card(name)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in model.state_dict().values())


@pytest.mark.parametrize("name", MODELS)
def test_the_numbers_of_the_run_are_those_of_its_log(name: str) -> None:
    training = shipped(name, "training.json")
    lines = [json.loads(line) for line in (BUILTIN_FOLDER / name / "log.jsonl").read_text().splitlines()]
    assert lines[0]["settings"] == training["settings"]
    assert {name: lines[-1][name] for name in training["result"]} == training["result"]
    settings, result = Settings.from_dict(training["settings"]), training["result"]
    assert settings.bases_until(settings.steps) == result["bases"]
    words = card(name)
    assert f"{settings.steps:,} steps of {settings.batch_bases:,} bases: {result['bases'] / 1e6:.0f} million" in words
    assert f"{result['seconds']:.0f} s" in words
    assert f"--steps {settings.steps} " in words


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_plot_is_there(name: str) -> None:
    assert (BUILTIN_FOLDER / name / "loss.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", MODELS)
def test_the_perplexities_of_the_card_are_those_measured(name: str) -> None:
    evaluation = shipped(name, "evaluation.json")
    contexts = [f"{int(context):,}" for context in evaluation[0]["model"]]
    assert contexts == ["1,024", "4,096", "16,384", "32,768"]
    for context, key in zip(contexts, evaluation[0]["model"], strict=True):
        assert table_rows(name, f"{name}, context {context}") == [[f"{row['model'][key]:.3f}" for row in evaluation]]
    markov = table_rows(name, "Markov order")
    assert markov == [[f"{row['markov'][order]:.3f}" for row in evaluation] for order in range(1, 13)]
    # The others' weights were rounded to float16 after training.
    reached = shipped(name, "training.json")["result"]["perplexity"]
    assert evaluation[0]["model"]["32768"] == pytest.approx(reached, rel=1e-6 if name == DEFAULT_MODEL else 1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_it_beats_every_markov_model_and_gains_from_context(name: str) -> None:
    for row in shipped(name, "evaluation.json"):
        assert row["model"]["1024"] < min(row["markov"])
        assert row["model"]["16384"] < row["model"]["1024"]


@pytest.mark.parametrize("name", MODELS)
def test_the_data_of_the_card_is_that_of_the_recipe(name: str) -> None:
    recipe = shipped(name, "recipe.json")
    assert shipped(name, "training.json")["train"]["bases"] == recipe["train_bases"]
    assert f"{recipe['train_bases'] / 1e6:.1f} million bases of {len(recipe['organisms'])} organisms" in card(name)
    assert f"{recipe['human_share']:.1%} of them human" in card(name)
    for entry in recipe["organisms"]:
        assert table_rows(name, entry["organism"])[0][0] == f"{entry['bases'] / 1e6:.2f}"
    files = {(file["package"], file["path"]) for entry in recipe["organisms"] for file in entry["sources"]}
    assert files == {(source.package, source.path) for source in SOURCES}
    assert recipe["validation"][0]["ranges"] == ["20:60000001-63025520"]
    assert "human genome" not in card(name)


@pytest.mark.parametrize("name", MODELS)
def test_held_out_human_dna_is_predicted_better_than_by_its_own_order_3_counts(name: str) -> None:
    (record,) = read_fasta([HELD_OUT], LetterPolicy())
    assert isinstance(record, Record)
    assert record.id == "chr20:61000001-61050000"
    tokens, _ = pack(record.sequence)
    assert len(tokens) == 50_001
    # Fitted on the very piece that it is judged by: better than any order-3 model fitted elsewhere.
    baseline = MarkovModel.fit(tokens, 3).perplexities(tokens)[3]
    assert perplexity(load_model(BUILTIN_FOLDER / name), tokens[:16_385], context=4096) < baseline - 0.1


def test_the_held_out_piece_is_inside_what_was_held_out() -> None:
    header = gzip.decompress(HELD_OUT.read_bytes()).split(b"\n", 1)[0]
    assert b"chr20:61000001-61050000" in header
    begin, end = next(source.held_out["20"] for source in SOURCES if "20" in source.held_out)
    assert np.all([begin <= 61_000_000, end >= 61_050_000])
