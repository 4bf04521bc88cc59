"""Reading torch files without running them: what is read, and that nothing else happens."""

import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from genoconv.errors import ModelError
from genoconv.model.unpickle import read_torch_file

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def test_reads_what_torch_saves(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    state = OrderedDict(
        whole=whole, turned=whole.t(), part=whole[1:3, ::2], half=whole.half(), scalar=torch.tensor(3),
        empty=torch.empty(0, 3), parameter=torch.nn.Parameter(whole.clone()), flags=torch.tensor([True, False]),
    )  # fmt: skip
    torch.save({"state_dict": state, "epoch": 3, "other": {"nested": [1.5, None, "x"]}}, tmp_path / "file.ckpt")
    found = read_torch_file(tmp_path / "file.ckpt")
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) and found[name].dtype == state[name].dtype for name in state)
    assert found["turned"].data_ptr() == found["whole"].data_ptr()


def test_reads_a_bare_dictionary(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "file.pt")
    assert read_torch_file(tmp_path / "file.pt").keys() == {"a"}


def test_lightning_file_needs_no_omegaconf() -> None:
    found = read_torch_file(GOLDEN / "tiny-d64" / "original" / "weights.ckpt")
    assert "model.backbone.layers.1.mixer.filter_fn.implicit_filter.5.freq" in found


class Malicious:
    """Pickles as a call of any function with any arguments."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


CALLS: list[Any] = [os.system, eval, exec, getattr, __import__, Path, torch.load]


@pytest.mark.parametrize("function", CALLS, ids=[function.__name__ for function in CALLS])
def test_nothing_a_file_names_is_run(function: Any, tmp_path: Path) -> None:
    mark = tmp_path / "it_ran"
    torch.save({"state_dict": {"a": Malicious(function, f"touch {mark}")}}, tmp_path / "bad.ckpt")
    with pytest.raises(ModelError, match="asks to run") as refusal:
        read_torch_file(tmp_path / "bad.ckpt")
    assert function.__name__ in str(refusal.value)
    assert not mark.exists()


def write_archive(path: Path, pickled: bytes, **records: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        for name, data in records.items():
            archive.writestr(f"archive/{name.replace('_', '/', 1)}", data)
    return path


class Reference:
    """A storage as torch.save refers to one, and a tensor upon it, with any numbers."""

    def __init__(self, count: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> None:
        self.count, self.layout = count, (offset, size, stride)


class ReferencePickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        return ("storage", torch.FloatStorage, "0", "cpu", value.count) if isinstance(value, Reference) else None

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, Tensorlike):
            return torch._utils._rebuild_tensor_v2, (value.reference, *value.reference.layout, False, OrderedDict())
        return NotImplemented


class Tensorlike:
    def __init__(self, reference: Reference) -> None:
        self.reference = reference


@pytest.mark.parametrize(
    ("count", "offset", "size", "stride", "message"),
    [
        (4, 0, (5,), (1,), "beyond its data"),
        (4, 2, (3,), (1,), "beyond its data"),
        (4, 0, (2, 2), (1000, 1), "beyond its data"),
        (4, -1, (2,), (1,), "impossible shape"),
        (4, 0, (2,), (-1,), "impossible shape"),
        (4, 0, (2,), (1, 1), "impossible shape"),
        (5, 0, (2,), (1,), "16 bytes for 5"),
    ],
)
def test_tensors_stay_within_their_data(
    count: int, offset: int, size: tuple[int, ...], stride: tuple[int, ...], message: str, tmp_path: Path
) -> None:
    with (tmp_path / "pickled").open("wb") as file:
        ReferencePickler(file, protocol=2).dump({"a": Tensorlike(Reference(count, offset, size, stride))})
    path = write_archive(tmp_path / "bad.ckpt", (tmp_path / "pickled").read_bytes(), data_0=bytes(16))
    with pytest.raises(ModelError, match=message):
        read_torch_file(path)


def test_the_same_archive_with_right_numbers_is_read(tmp_path: Path) -> None:
    with (tmp_path / "pickled").open("wb") as file:
        ReferencePickler(file, protocol=2).dump({"a": Tensorlike(Reference(4, 1, (3,), (1,)))})
    path = write_archive(tmp_path / "good.ckpt", (tmp_path / "pickled").read_bytes(), data_0=bytes(16))
    assert read_torch_file(path)["a"].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("pickled", "message"),
    [
        (b"", "make no sense"),
        (b"garbage", "cannot be read"),
        (pickle.dumps([1, 2]), "no dictionary of tensors"),
        (pickle.dumps({1: 2}), "no dictionary of tensors"),
    ],
)
def test_damaged_pickles(pickled: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        read_torch_file(write_archive(tmp_path / "bad.ckpt", pickled))


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "text.ckpt").write_text("not a checkpoint")
    with pytest.raises(ModelError, match="not a zip file"):
        read_torch_file(tmp_path / "text.ckpt")
    whole = (GOLDEN / "tiny-d64" / "original" / "weights.ckpt").read_bytes()
    (tmp_path / "cut.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match="cannot be read"):
        read_torch_file(tmp_path / "cut.ckpt")
    with zipfile.ZipFile(tmp_path / "other.ckpt", "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(ModelError, match="holds no torch checkpoint"):
        read_torch_file(tmp_path / "other.ckpt")
