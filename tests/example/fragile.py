"""Two models that FP16 breaks, each at one place: a transformer by its layer norms, a detector by its boxes."""

from __future__ import annotations

import torch
from torch.nn import functional


class Norm(torch.nn.Module):
    """Compute a layer norm as many write it by hand: what it squares may be beyond FP16."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = torch.nn.Parameter(torch.ones(width)), torch.nn.Parameter(torch.zeros(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x - x.mean(-1, keepdim=True)
        return x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6) * self.weight + self.bias


class Block(torch.nn.Module):
    """Compute a transformer's block with torch's attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = Norm(width), Norm(width)
        self.attention = torch.nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = torch.nn.Sequential(
            torch.nn.Linear(width, 2 * width), torch.nn.GELU(), torch.nn.Linear(2 * width, width)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Transformer(torch.nn.Module):
    """Classify tokens; the first block writes some large activations, as in trained language models, and they stay."""

    def __init__(self, width: int = 64, heads: int = 4, blocks: int = 3, outlier: float = 4000.0) -> None:
        super().__init__()
        self.embed = torch.nn.Linear(16, width)
        self.blocks = torch.nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.norm, self.head = Norm(width), torch.nn.Linear(width, 10)
        with torch.no_grad():
            self.blocks[0].mlp[2].weight[3] *= outlier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


class Boxes(torch.nn.Module):
    """Turn what a head predicts into boxes in pixels, each with a score that its area weighs."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, raw: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sides = torch.exp(raw[:, 2:4].tanh()) * 8 * self.stride
        area = sides[:, 0] * sides[:, 1]
        score = raw[:, 4].sigmoid() * area / functional.adaptive_avg_pool2d(area, 1)
        return torch.cat([raw[:, :2].sigmoid() * self.stride, sides], 1).flatten(2), score.flatten(1)


class Detector(torch.nn.Module):
    """Detect by a few convolutions and a head; the areas of its boxes are beyond FP16."""

    def __init__(self, channels: int = 16, stride: int = 32) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(3, channels, 3, 2, 1),
            torch.nn.BatchNorm2d(channels),
            torch.nn.ReLU(),
            torch.nn.Conv2d(channels, channels, 3, 2, 1),
            torch.nn.ReLU(),
        )
        self.head, self.boxes = torch.nn.Conv2d(channels, 5, 1), Boxes(stride)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.boxes(self.head(self.body(image)))
