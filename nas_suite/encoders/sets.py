"""Data sets into vectors: a set transformer over the images of each class, and one over the classes."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

HEADS = 4


class Attention(nn.Module):
    """MAB(X, Y) (Lee et al. 2019), as MetaD2A has it: scaled by the root of the whole dimension, not of a head's; no norm, no
    dropout (MetaD2A, set_encoder/setenc_modules.py:10-37)."""

    def __init__(self, asking: int, answering: int, out: int) -> None:
        super().__init__()
        if out % HEADS:
            raise ValueError(f"{out} numbers cannot be split over {HEADS} heads")
        self.query = nn.Linear(asking, out)
        self.key, self.value = nn.Linear(answering, out), nn.Linear(answering, out)
        self.after = nn.Linear(out, out)

    def forward(self, x: Float[Tensor, "n q i"], y: Float[Tensor, "n k j"]) -> Float[Tensor, "n q o"]:
        query, key, value = (
            layer(z).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for layer, z in ((self.query, x), (self.key, y), (self.value, y))
        )
        weights = torch.softmax(query @ key.transpose(2, 3) / math.sqrt(self.query.out_features), -1)
        joined = (query + weights @ value).transpose(1, 2).flatten(2)
        return joined + torch.relu(self.after(joined))


class SetTransformer(nn.Module):
    """Sets of vectors into one vector each, whatever their order: two self-attentions, a pooling by one learned query, a linear
    layer (MetaD2A, set_encoder/setenc_models.py:8-37)."""

    def __init__(self, features: int, out: int) -> None:
        super().__init__()
        self.first, self.second = Attention(features, features, out), Attention(out, out, out)
        self.seed = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, 1, out)))
        self.pool, self.last = Attention(out, out, out), nn.Linear(out, out)

    def forward(self, x: Float[Tensor, "n s f"]) -> Float[Tensor, "n out"]:
        x = self.first(x, x)
        x = self.second(x, x)
        return self.last(self.pool(self.seed.expand(len(x), -1, -1), x)).squeeze(1)

    def each(self, sets: Sequence[Float[Tensor, "_ f"]]) -> Float[Tensor, "n out"]:
        """Sets of any sizes above 0; those of one size are computed together, so that nothing is padded."""
        by_size: dict[int, list[int]] = {}
        for at, x in enumerate(sets):
            by_size.setdefault(len(x), []).append(at)
        found = torch.cat([self(torch.stack([sets[at] for at in places])) for places in by_size.values()])
        order = torch.tensor([at for places in by_size.values() for at in places])
        return found[torch.argsort(order)]


class DataEncoder(nn.Module):
    """φ: data sets, whose images are vectors of `features` numbers, into vectors of `out` numbers.

    Neither the order of a class's images nor that of the classes counts.
    """

    def __init__(self, features: int, out: int) -> None:
        super().__init__()
        self.features = features
        self.within, self.across = SetTransformer(features, out), SetTransformer(out, out)

    def forward(self, classes: Sequence[Float[Tensor, "_ f"]], sets: Sequence[Sequence[int]]) -> Float[Tensor, "d out"]:
        """`classes` are the images of each distinct class, any number of at least one; a data set is places in it. A class that
        several data sets share is encoded once."""
        encoded = self.within.each(classes)
        return self.across.each([encoded[list(places)] for places in sets])
