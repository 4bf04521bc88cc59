"""Functions of tensors -> the same functions without Python's lock, so that threads do not wait for each other.

Python lets one thread at a time read its code, also between two operations of torch. Handing that lock on takes 6
microseconds on a server of 32 cores, so all threads together begin 160,000 operations a second, where 16 of them need
many times as many. TorchScript runs a function of several operations at once, and the lock is free meanwhile.
"""

import threading
import warnings
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

Result = TypeVar("Result")
Arguments = ParamSpec("Arguments")

SCRIPT_BYTES = 16 << 20
"""What TorchScript takes, from its first use."""

_compiling = threading.Lock()
_thread = threading.local()


def one_of_many() -> None:
    """From now on, the calling thread runs functions `without_lock`: it is one of several that compute."""
    _thread.one_of_many = True


def without_lock(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The function by TorchScript in threads that are `one_of_many`, compiled at its first use there.

    In other threads, and with a torch that has TorchScript no longer, the function as it is: operations and numbers are
    the same, and TorchScript takes `SCRIPT_BYTES`. It knows a part of Python only, and no globals but functions.
    """
    compiled: list[Callable[Arguments, Result]] = []

    @wraps(function)
    def call(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        if not getattr(_thread, "one_of_many", False):
            return function(*arguments, **named)
        if not compiled:
            with _compiling:
                if not compiled:
                    compiled.append(_script(function))
        # What is known of the shapes would be compiled in: 20 MiB for four threads, and no time saved.
        with torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
            return compiled[0](*arguments, **named)

    return call


def _script(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            scripted: Callable[Arguments, Result] = torch.jit.script(function)
        except (AttributeError, OSError, RuntimeError):  # OSError: there is no source to be read
            return function
    return scripted
