"""Three models as users bring them, for docs/models.md: super-resolution, tags for words, and a recommender."""

from __future__ import annotations

import torch
from torch import nn


class SuperResolution(nn.Module):
    """Enlarge images: residual blocks without normalization and a pixel shuffle, as EDSR has them."""

    def __init__(self, blocks: int = 16, channels: int = 64, scale: int = 2) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1), nn.ReLU(), nn.Conv2d(channels, channels, 3, padding=1)
            )
            for _ in range(blocks)
        )
        self.last = nn.Sequential(
            nn.Conv2d(channels, channels * scale**2, 3, padding=1),
            nn.PixelShuffle(scale),
            nn.Conv2d(channels, 3, 3, padding=1),
        )

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        first = x = self.first(image)
        for block in self.blocks:
            x = x + block(x)
        return self.last(x + first)


class Tagger(nn.Module):
    """Give each word of a text a tag, by an LSTM in both directions."""

    def __init__(self, words: int = 10_000, width: int = 128, tags: int = 17) -> None:
        super().__init__()
        self.table = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, width, num_layers=2, batch_first=True, bidirectional=True)
        self.head = nn.Linear(2 * width, tags)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(self.table(ids))[0])


class Recommender(nn.Module):
    """Score an item for a user: bags of categories and numbers, and the products of their embeddings, as in DLRM."""

    def __init__(self, tables: int = 8, rows: int = 10_000, width: int = 64, numbers: int = 13) -> None:
        super().__init__()
        self.bags = nn.ModuleList(nn.EmbeddingBag(rows, width, mode="sum") for _ in range(tables))
        self.bottom = nn.Sequential(nn.Linear(numbers, 256), nn.ReLU(), nn.Linear(256, width), nn.ReLU())
        pairs = torch.triu_indices(tables + 1, tables + 1, 1)
        self.register_buffer("pairs", pairs)
        self.top = nn.Sequential(nn.Linear(width + pairs.shape[1], 256), nn.ReLU(), nn.Linear(256, 1))

    def forward(self, numbers: torch.Tensor, categories: torch.Tensor) -> torch.Tensor:
        dense = self.bottom(numbers)
        sparse = [bag(categories[:, index]) for index, bag in enumerate(self.bags)]
        vectors = torch.stack([dense, *sparse], dim=1)
        products = (vectors @ vectors.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]
        return self.top(torch.cat([dense, products], dim=1))
