"""The fast path: token ids -> hidden states, layer by layer, without gradients and in bounded memory.

Each block passes twice over the stream x (B, L, d), in chunks of positions that stay in the cache:

    1. norm, projections, short filter, v * x1  ->  v and x0, kept channel-major (B, d, L)
       (in the first block of the few tokens that there are, instead of every position)
       then the long filter in place on v, a few channels at a time, skip and gate x0 in the same step
    2. output projection, add, norm, MLP, add   ->  x, in place

So three tensors of B * L * d numbers are all that grows with the input. The numbers are those of `HyenaDNA.states`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from genoconv.errors import ModelError, UsageError
from genoconv.kernels.scripts import SCRIPT_BYTES
from genoconv.kernels.sparsity import LEAST_KEPT, MOST_KEPT
from genoconv.kernels.torch_path import step_bytes
from genoconv.model.config import PAD, HyenaConfig
from genoconv.model.half import by_kernels, half_states
from genoconv.model.hyenadna import HyenaDNA
from genoconv.model.products import BLOCK
from genoconv.model.rooms import large_room
from genoconv.model.spectra import ALL, Kept, features_bytes, filter_bank, keeps, spectra_bytes, taps_at_a_time
from genoconv.model.stages import stage
from genoconv.model.sweeps import embed, front, mixer, normalise, project, stream_source, token_source, transform
from genoconv.model.taps import LONGEST_PIECE, pieces_of_features
from genoconv.model.workers import MANY_THREADS, Workers

# Bytes of the widest intermediate of one chunk. CPU: of 1, 2, 4 and 8 MiB all were within 3%; the caches are shared.
_CHUNK_BYTES = {"cpu": 2 << 20, "cuda": 256 << 20}
# Of those of all threads of a CPU together, as long as each has a block.
_ALL_CHUNKS_BYTES = 16 << 20
# Chunks for many threads have a multiple of so many positions: few shapes, and full registers.
_FEWEST_POSITIONS = 32
# Positions at most of a chunk that is only looked up or normalised.
_LARGE = 4096
# Blocks of positions from which on it is worth while to pack the weights.
_MANY_BLOCKS = 4
# What torch, MKL and oneDNN hold after their first use.
_LIBRARY_BYTES = 20 << 20
# What the heap of a thread keeps of what it has worked on, and that of the one beside them of weights.
_HEAP_BYTES, _ASIDE_BYTES = 1 << 20, 4 << 20
# Tokens from which on heaps keep more of convolutions.
_LONG = 8192

# Numbers of a line of the caches.
_LINE = 16

Precision = Literal["high", "half"]


def hidden_states(
    model: HyenaDNA,
    ids: Tensor,
    *,
    layers: Sequence[int] = (-1,),
    filter_length: int | None = None,
    frequencies: float = 1.0,
    precision: Precision = "high",
    overflowed: set[int] | None = None,
    unchecked: list[Tensor] | None = None,
) -> Iterator[tuple[int, Tensor]]:
    """Computes hidden states, and no block beyond the last one that is asked for.

    Args:
        model: In float32 (or float64), on the device of ids.
        ids: Token ids, (B, L) integers of any type (uint8 travels fastest), padded on the right: what stands behind a
            position never reaches it.
        layers: Which states: 0 the embedding, i the stream after block i, n_layer + 1 the state after the final norm;
            negative numbers count from the end.
        filter_length: Taps that the long filters are cut to; None keeps all l_max. Beyond l_max there are none.
        frequencies: Part of all frequencies that the long filters keep, the lowest: 1, or up to 0.4. Then bases look
            ahead as well, and tokens [PAD] count as nothing.
        precision: "high": float32 throughout. "half": half precision around a float32 stream; the states differ by 1e-3
            to 2e-3. On a GPU by fused float16 kernels (`genoconv.model.half`); on a CPU operands and results of most
            products with weights are bfloat16 (`genoconv.model.products`), with float32 sums; all else is float32.
        overflowed: Takes the rows whose numbers half precision does not hold, and perhaps neighbours of them, instead
            of an error; their states mean nothing, those of the other rows are as ever.
        unchecked: Takes integers (n,) of the device, instead of a look at them, which waits for it: where some of them
            are not 0 before the next states of this model are asked for, half precision does not hold the numbers.

    Yields:
        Layer (from 0) and its states (B, L, d), each layer once, in ascending order. The states are overwritten when
        the next ones are asked for, and must not be changed.

    Raises:
        UsageError: A layer that the model does not have, a filter length below 1, frequencies out of range.
        ModelError: The model is in half precision.
        HalfPrecisionOverflowError: Half precision does not hold the numbers, and nobody takes the rows.
    """
    wanted = set(layer_indices(model.config, layers))
    if filter_length is not None and filter_length < 1:
        raise UsageError(f"the filter length must be at least 1, not {filter_length}")
    if frequencies != 1.0 and not LEAST_KEPT <= frequencies <= MOST_KEPT:
        raise UsageError(
            f"filters keep all frequencies, or {LEAST_KEPT:.1%} to {MOST_KEPT:.0%} of them, not {frequencies:.1%}"
        )
    kept = Kept(filter_length, frequencies)
    if model.embedding.weight.dtype not in (torch.float32, torch.float64):
        raise ModelError("a model computes in float32: half precision loses the filters' positions")
    if precision == "half" and by_kernels(ids.device):
        return half_states(model, ids, wanted, kept, overflowed, unchecked)
    return _hidden_states(model, ids.long(), wanted, kept, half=precision == "half")


def layer_indices(config: HyenaConfig, layers: Sequence[int]) -> tuple[int, ...]:
    """The layers, counted from 0, in the order given.

    Raises:
        UsageError: The model does not have so many.
    """
    count = config.n_layer + 2
    for layer in layers:
        if not -count <= layer < count:
            raise UsageError(
                f"the model has no layer {layer}",
                fix=f"choose from 0 (embedding), 1 to {config.n_layer} (blocks), {config.n_layer + 1} (final), "
                f"or -{count} to -1 counted from the end",
            )
    return tuple(layer % count for layer in layers)


def memory_per_base(config: HyenaConfig) -> int:
    """Bytes of activations per position of a padded batch: the stream, v and x0, and the token id."""
    return 3 * 4 * config.d_model + 8


def fixed_bytes(
    config: HyenaConfig, length: int, kept: Kept = ALL, *, rows: int = 1, device: torch.device | str = "cpu"
) -> int:
    """Bytes that a run takes beside `memory_per_base` and the weights, for rows of `length` tokens.

    Together with `memory_per_base` within 15% of what was measured on a CPU: with 1 to 16 threads at 8 x 1,024 tokens,
    1 to 8 at 2 x 4,096 and 32,768, two at 80,000 and 160,000; of two runs one may take 15% more than the other. Inputs
    of many lengths may make kept filters grow to `spectra.CACHE_BYTES`.
    """
    features = features_bytes(config, length, kept)
    row = features // config.filter_order  # taps of one channel
    workers = torch.get_num_threads()
    step = workers * max(step_bytes(torch.device(device), workers), 8 * length)  # spectra of one step of a convolution
    chunks = workers * (2 * _chunk_bytes(max(3 * config.d_model, config.d_inner) * 4, workers) + _HEAP_BYTES)
    chunks += _ASIDE_BYTES if workers > 1 else 0
    library = _LIBRARY_BYTES + (SCRIPT_BYTES if workers >= MANY_THREADS else 0)
    if keeps(config, rows, length, kept, device):
        spectra = spectra_bytes(config, length, kept, device)
        return spectra + features + config.d_model * row + 6 * step + chunks + library
    channels = min(config.d_model, workers * taps_at_a_time(row // 4, workers))
    taps = channels * (row + 2 * min(row, 4 * LONGEST_PIECE))
    return features + taps + (6 if length > _LONG else 1) * step + chunks + library


def _hidden_states(
    model: HyenaDNA, ids: Tensor, wanted: set[int], kept: Kept, *, half: bool
) -> Iterator[tuple[int, Tensor]]:
    bank, table = filter_bank(model), model.embedding.weight
    x = large_room(table, *ids.shape, model.config.d_model)  # (B, L, d)
    with Workers(x.device) as workers:
        chunks = _Chunks(x, model.config, workers)
        workers.each(partial(embed, table, ids, x), chunks.large())
        if 0 in wanted:
            yield 0, x
        v, gate = _channels(x), _channels(x)
        features = bank.room_for_features(model.config, x, kept)
        padding = None if kept.frequencies == 1.0 else (ids == PAD)[:, None]  # (B, 1, L)
        pack = ids.numel() >= _MANY_BLOCKS * BLOCK
        for layer, block in enumerate(model.stack[: max(wanted)], start=1):
            source = partial(stream_source, block, x, half) if layer > 1 else partial(token_source, block, table, ids)
            ready = workers.aside(partial(front, block.operator, source))
            mixed = workers.aside(partial(mixer, block, pack=pack, half=half))
            first_sweep = partial(project, *ready(), v, gate, chunks.usual)
            with stage("projections, gates", x.device):
                jobs: list[Callable[[], None]] = [partial(first_sweep, at) for at in chunks]
                if features is not None:  # which need no input: made beside, a wait less
                    jobs = pieces_of_features(block.operator.long_filter, features, workers) + jobs
                workers.each(_call, jobs)
                if padding is not None:
                    v.masked_fill_(padding, 0.0)
            with stage("convolution", x.device):
                v = bank.convolve(model.config, layer, block.operator, v, gate, kept, workers, features)
            with stage("output projection, MLP", x.device):
                workers.each(partial(transform, mixed(), x, v, chunks.block), chunks)
            if layer in wanted:
                yield layer, x
        del v, gate, features
        if model.config.n_layer + 1 in wanted:
            workers.each(partial(normalise, model.norm, x), chunks.large())
    if model.config.n_layer + 1 in wanted:
        yield model.config.n_layer + 1, x


def _call(job: Callable[[], None]) -> None:
    job()


def _channels(x: Tensor) -> Tensor:
    """Room for the channels of a stream x (B, L, d): (B, d, L).

    Rows are a little longer than they have to be: a power of two apart, the numbers of a position get into each other's
    way in the caches, and the products that read them take 14% longer.
    """
    B, L, d = x.shape
    return large_room(x, B, d, -(-L // _LINE) * _LINE + _LINE)[..., :L]


class _Chunks:
    """The chunks that the stream (B, L, d) is cut into: such that each thread has some, and their caches suffice.

    Attributes:
        usual: Positions of most chunks of a long row.
        block: Positions that the MLP takes at a time.
    """

    def __init__(self, x: Tensor, config: HyenaConfig, workers: Workers) -> None:
        self._rows, self._length = x.shape[:2]
        width = max(3 * config.d_model, config.d_inner) * x.element_size()
        most = (_chunk_bytes(width, workers.count) if x.is_cpu else _CHUNK_BYTES["cuda"]) // width
        share = -(-x.shape[0] * x.shape[1] // workers.count)
        self._share = _FEWEST_POSITIONS * -(-share // _FEWEST_POSITIONS)
        self.usual = max(16, min(_whole(most), self._share))
        self.block = min(BLOCK, self.usual)

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        return self._of(self.usual)

    def large(self) -> Iterator[tuple[slice, slice]]:
        """One chunk a thread, or a few: for what takes little time and room."""
        return self._of(max(self.usual, min(self._share, _LARGE)))

    def _of(self, positions: int) -> Iterator[tuple[slice, slice]]:
        """Rows and positions of the chunks: part of one row, or several rows whole if they are short."""
        rows = max(1, positions // max(self._length, 1))
        for row in range(0, self._rows, rows):
            for first in range(0, self._length, positions):
                yield slice(row, min(row + rows, self._rows)), slice(first, min(first + positions, self._length))


def _chunk_bytes(width: int, workers: int) -> int:
    """Bytes of one chunk of `width` bytes a position on a CPU with so many threads."""
    return max(min(BLOCK * width, _CHUNK_BYTES["cpu"]), min(_CHUNK_BYTES["cpu"], _ALL_CHUNKS_BYTES // workers))


def _whole(positions: int) -> int:
    """So many positions or fewer: whole blocks or halves of them, quarters ..., if there are as many as that."""
    step = BLOCK
    while step > max(positions, _FEWEST_POSITIONS):
        step //= 2
    return positions // step * step or positions
