"""HyenaDNA, whole: token ids (B, L) -> embedding -> blocks -> norm -> hidden states (B, L, d) -> next-token logits.

This is the model as a formula: plain, differentiable, used for training and as the truth in tests. Embedding runs
through `genoconv.model.inference`, which computes the same numbers faster and in bounded memory.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from genoconv.model.block import Block
from genoconv.model.config import HyenaConfig
from genoconv.model.filter import Positions
from genoconv.model.projections import rows_of


class HyenaDNA(nn.Module):
    """A causal language model of DNA. It has no dropout, and no notion of padding: pad on the right and ignore it.

    Attributes:
        config: Its shape.
    """

    def __init__(self, config: HyenaConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_rows, config.d_model)
        positions = Positions(config)
        self.blocks = nn.ModuleList(Block(config, positions) for _ in range(config.n_layer))
        self.norm = nn.LayerNorm(config.d_model, eps=config.eps)
        self.head = nn.Linear(config.d_model, config.vocab_rows, bias=False)
        initialise(self)
        if config.tied:
            self.head.weight = self.embedding.weight

    @property
    def stack(self) -> tuple[Block, ...]:
        """The blocks, typed."""
        return tuple(block for block in self.blocks if isinstance(block, Block))

    def forward(self, ids: Tensor, filter_length: int | None = None) -> Tensor:
        """Scores of the next token at every position.

        Args:
            ids: Token ids, (B, L) int64.
            filter_length: Taps that the long filters are cut to; None keeps all l_max.

        Returns:
            Logits, (B, L, vocab_rows).
        """
        *_, hidden = self.states(ids, filter_length)
        logits: Tensor = self.head(hidden)
        return logits

    def states(self, ids: Tensor, filter_length: int | None = None) -> Iterator[Tensor]:
        """The n_layer + 2 hidden states (B, L, d): after the embedding, after every block, after the final norm."""
        x = rows_of(self.embedding.weight, ids)
        yield x
        for block in self.stack:
            x = block(x, filter_length)
            yield x
        yield self.norm(x)


def initialise(model: HyenaDNA, std: float = 0.02) -> None:
    """Draws weights for training: normal, and smaller where a block adds to the stream; filters keep torch's own."""
    nn.init.normal_(model.embedding.weight, std=std)
    nn.init.normal_(model.head.weight, std=std)
    residual = std / (2 * len(model.stack)) ** 0.5
    for block in model.stack:
        linears = (block.operator.in_proj, std), (block.mlp.fc1, std), (block.operator.out_proj, residual)
        for linear, spread in (*linears, (block.mlp.fc2, residual)):
            nn.init.normal_(linear.weight, std=spread)
            nn.init.zeros_(linear.bias)
