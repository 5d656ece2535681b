"""A transformer that fills gaps: it sees the whole of a row of ids, on both sides of every gap, and says what each gap may hold."""

from collections.abc import Mapping

from torch import Tensor, nn

from karat.learning.nets.parts import TimeEmbedding
from karat.learning.nets.transformer import TransformerSpec, Trunk
from karat.values.given import Given
from karat.values.spaces import Space


class FillingTransformer(nn.Module):
    """Logits (B, N, V) for every position of (B, N) ids, of which the id V, one beyond the space's own, marks a gap.

    No logit stands for the gap itself. How much of the row is gaps is told to every block, as a time is to a flow's.
    """

    def __init__(self, space: Space, given: Mapping[str, Space], spec: TransformerSpec) -> None:
        super().__init__()
        assert space.vocab is not None
        self.gap = space.vocab
        self.enter = nn.Embedding(space.vocab + 1, spec.width)
        nn.init.normal_(self.enter.weight, std=0.02)
        self.time = TimeEmbedding(spec.width)
        self.trunk = Trunk(space, given, spec)
        self.leave = nn.Linear(spec.width, space.vocab, bias=False)
        nn.init.zeros_(self.leave.weight)

    def forward(self, ids_BN: Tensor, given: Given) -> Tensor:
        share_B = (ids_BN == self.gap).float().mean(1)
        return self.leave(self.trunk(self.enter(ids_BN), given, self.time(share_B)))
