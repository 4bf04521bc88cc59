"""Measured rates: written, read again, and ignored with a note whenever they cannot be trusted."""

import json
import logging
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from genoconv.kernels.monarch.plan import H200, choose
from genoconv.kernels.monarch.rates import cache_file, rates_for, read, write

NAME = "NVIDIA RTX 6000/Ada"
OTHER = replace(H200, device=NAME, direct=(9.0, 1.0), inner={2048: 9.0, 4096: 2.0})


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rates_for.cache_clear()
    yield cache_file(NAME)
    rates_for.cache_clear()


def test_written_and_read_again(cache: Path) -> None:
    assert read(cache, NAME) is None
    write(cache, OTHER)
    found = read(cache, NAME)
    assert found is not None
    assert asdict(found) == asdict(OTHER)
    assert [path.name for path in cache.parent.iterdir()] == ["NVIDIA-RTX-6000-Ada.json"]


def change(content: Any, *keys: str, to: Any) -> None:
    for key in keys[:-1]:
        content = content[key]
    content[keys[-1]] = to


@pytest.mark.parametrize(
    ("keys", "value", "message"),
    [
        (("measured", "torch"), "1.0", "another torch"),
        (("measured", "triton"), "1.0", "another triton"),
        (("measured", "GPU"), "NVIDIA A100", "another GPU"),
        (("measured", "format"), 0, "another format"),
        (("measured",), [], "is damaged"),
        (("rates",), None, "is damaged"),
        (("rates", "inner"), {"2048": 1.0}, "is damaged"),
        (("rates", "direct"), [1.0], "is damaged"),
        (("rates", "launch"), -1.0, "is damaged"),
        (("rates", "launch"), "fast", "is damaged"),
        (("rates", "programs"), float("nan"), "is damaged"),
    ],
)
def test_what_cannot_be_trusted_is_ignored_with_a_note(
    cache: Path, keys: tuple[str, ...], value: Any, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    write(cache, OTHER)
    content = json.loads(cache.read_text())
    change(content, *keys, to=value)
    cache.write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        assert read(cache, NAME) is None
    assert message in caplog.text
    assert "--measure" in caplog.text


@pytest.mark.parametrize("text", ["", "{", "[]", "7", "\x00"])
def test_broken_files_are_ignored_with_a_note(cache: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(text)
    assert read(cache, NAME) is None
    assert "is damaged" in caplog.text


def test_a_folder_in_the_way_is_ignored_with_a_note(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache.mkdir(parents=True)
    assert read(cache, NAME) is None
    assert "cannot be read" in caplog.text


def test_a_gpu_plans_by_its_own_rates_once_they_are_there(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    device = torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: NAME)
    assert rates_for(device) is H200
    assert rates_for(torch.device("cpu")) is H200
    write(cache, OTHER)
    assert asdict(rates_for(device)) == asdict(OTHER)
    shape = (8, 384, 65_536, 65_536)
    assert choose(*shape).factors[-2:] == (64, 32)
    assert choose(*shape, rates_for(device)).factors[-2:] == (64, 64)


def test_the_cache_folder_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", lambda: Path("/home/someone"))
    assert cache_file("NVIDIA H100") == Path("/home/someone/.cache/genoconv/rates/NVIDIA-H100.json")
