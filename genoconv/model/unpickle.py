"""A torch checkpoint file -> its tensors, without running any code that the file names.

A checkpoint is a zip archive of a pickle and of the tensors' bytes. The pickle of a Lightning checkpoint names classes
of omegaconf, which are not needed and not run: an inert stand-in takes their place. Any name that is not listed here
is refused, so a file cannot do anything but describe tensors, numbers, strings and containers.
"""

import io
import pickle
import zipfile
from collections import OrderedDict, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from genoconv.errors import ModelError


class Inert:
    """Stands for an object that is not needed: takes anything, does nothing."""

    def __init__(self, *_arguments: Any, **_named: Any) -> None:
        pass

    def __setstate__(self, _state: Any) -> None:
        pass

    def __setitem__(self, _key: Any, _value: Any) -> None:
        pass

    def __hash__(self) -> int:
        return id(self)

    def append(self, _item: Any) -> None:
        """Pickles of lists call it."""

    def extend(self, _items: Any) -> None:
        """Pickles of lists call it."""


@dataclass(frozen=True, slots=True)
class _StorageKind:
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class _Storage:
    values: Tensor


_STORAGES = {
    "FloatStorage": torch.float32, "DoubleStorage": torch.float64, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


def _rebuild_tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_rest: Any) -> Tensor:
    """The view of a storage that a tensor is; torch itself checks nothing here, so this does."""
    if not isinstance(storage, _Storage) or len(size) != len(stride) or min((offset, *size, *stride)) < 0:
        raise pickle.UnpicklingError("a tensor has an impossible shape")
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if 0 not in size and last >= storage.values.numel():
        raise pickle.UnpicklingError("a tensor reaches beyond its data")
    return torch.as_strided(storage.values, size, stride, offset)


def _rebuild_parameter(data: Tensor, *_rest: Any) -> Tensor:
    return data


class _Unpickler(pickle.Unpickler):
    """Resolves the names listed here and no other."""

    _NAMES: ClassVar[dict[tuple[str, str], Any]] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("collections", "defaultdict"): defaultdict,
        ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
        ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
        ("typing", "Any"): Inert,
        ("__builtin__", "long"): int,
        **{
            (module, kind.__name__): kind
            for module in ("builtins", "__builtin__")
            for kind in (dict, list, tuple, set, frozenset, int, float, bool, str, complex)
        },
        **{("torch", name): _StorageKind(dtype) for name, dtype in _STORAGES.items()},
    }

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive, self._root = archive, root
        self._storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for."""
        if module.split(".")[0] == "omegaconf":
            return Inert
        try:
            return self._NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks to run {module}.{name}, which no checkpoint needs") from None

    def persistent_load(self, pid: Any) -> _Storage:
        """The bytes of a storage, read once."""
        tag, kind, key, _location, count = pid
        if tag != "storage" or not isinstance(kind, _StorageKind):
            raise pickle.UnpicklingError("it refers to something that is not tensor data")
        if key not in self._storages:
            data = bytearray(self._archive.read(f"{self._root}/data/{key}"))
            if len(data) != count * kind.dtype.itemsize:
                raise pickle.UnpicklingError(f"the data of a tensor has {len(data)} bytes for {count} numbers")
            values = torch.frombuffer(data, dtype=kind.dtype) if data else torch.empty(0, dtype=kind.dtype)
            self._storages[key] = _Storage(values)
        return self._storages[key]


def read_torch_file(path: Path) -> dict[str, Tensor]:
    """Reads the tensors of a file written by torch.save: of its `state_dict` if there is one.

    Args:
        path: Lightning checkpoint, or a dictionary of tensors.

    Returns:
        Name -> tensor, as in the file; tensors that share memory there share it here.

    Raises:
        ModelError: The file is damaged, of another kind, or asks for code to be run.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            pickles = [name for name in archive.namelist() if name.endswith("/data.pkl") and name.count("/") == 1]
            if len(pickles) != 1:
                raise pickle.UnpicklingError("it holds no torch checkpoint")
            root = pickles[0].partition("/")[0]
            if f"{root}/byteorder" in archive.namelist() and archive.read(f"{root}/byteorder") != b"little":
                raise pickle.UnpicklingError("it was written on a big-endian machine")
            found = _Unpickler(archive, root).load()
    except (pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise _not_a_checkpoint(path, str(error)) from error
    except (EOFError, KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError) as error:
        raise _not_a_checkpoint(path, f"its contents make no sense ({error})") from error
    state = found.get("state_dict", found) if isinstance(found, dict) else None
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise _not_a_checkpoint(path, "it holds no dictionary of tensors")
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}


def _not_a_checkpoint(path: Path, why: str) -> ModelError:
    return ModelError(
        f"the checkpoint cannot be read: {why}",
        where=str(path),
        fix="download it again, or use the model's safetensors file",
    )
