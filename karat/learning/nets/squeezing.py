"""Rows of ids to a shorter row of latents and back, by two transformers that see everything at once.

Each latent stands for a few neighbouring ids, so that copying is learnt at once; what a latent says beyond that it takes from the whole.
The embedding of the ids is shared by both ends, which also brings back ids that were hardly ever seen.
"""

from torch import Tensor, nn
from torch.nn import functional as F

from karat.learning.nets.parts import Norm
from karat.learning.nets.transformer import TransformerSpec, Trunk
from karat.values.given import Given
from karat.values.spaces import Space


class SqueezingTransformer(nn.Module):
    """(B, N) ids of a space, of which the id V marks a gap → (B, *latent) numbers → (B, N, V) logits of the ids."""

    def __init__(self, space: Space, latent: Space, spec: TransformerSpec) -> None:
        super().__init__()
        assert space.vocab is not None
        assert latent.channels is not None
        self.gap, self.positions = space.vocab, space.positions
        self.fold = -(-space.positions // latent.positions)
        self.missing = self.fold * latent.positions - space.positions
        self.enter = nn.Embedding(space.vocab + 1, spec.width)
        nn.init.normal_(self.enter.weight, std=spec.width**-0.5)
        self.gather = nn.Linear(self.fold * spec.width, spec.width, bias=False)
        self.spread = nn.Linear(spec.width, self.fold * spec.width, bias=False)
        self.reader, self.writer = Trunk(latent, {}, spec), Trunk(latent, {}, spec)
        self.squeeze, self.unsqueeze = nn.Linear(spec.width, latent.channels), nn.Linear(latent.channels, spec.width)
        self.norm = Norm(spec.width)

    def read(self, ids_BN: Tensor) -> Tensor:
        """Give latents whose numbers have the mean square 1 in each."""
        x_BND = self.enter(F.pad(ids_BN, (0, self.missing), value=self.gap))
        x_BND = self.gather(x_BND.unflatten(1, (-1, self.fold)).flatten(2))
        z_BNC = self.squeeze(self.reader(x_BND, Given())).float()
        return F.rms_norm(z_BNC, z_BNC.shape[-1:])

    def write(self, z_BNC: Tensor) -> Tensor:
        """Give the logits of ids by their nearness to the embeddings."""
        x_BND = self.spread(self.writer(self.unsqueeze(z_BNC), Given())).unflatten(-1, (self.fold, -1)).flatten(1, 2)
        return (self.norm(x_BND[:, : self.positions]) @ self.enter.weight[:-1].T).float()
