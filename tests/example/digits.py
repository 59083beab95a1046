"""Train two small classifiers of scikit-learn's handwritten digits, in well under a minute on a CPU.

`python tests/example/digits.py cnn digits_cnn.pt` (or transformer) trains one and writes its state dict. `calibration`
and `top1` are what quantization.calibration and accuracy.evaluate can name.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn import functional

TEST = 360  # samples in the test split, the last ones of 1797


class CNN(torch.nn.Module):
    """Classify by three convolutions with batch normalization, and a linear head."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()

        def block(inputs: int, outputs: int, stride: int) -> torch.nn.Sequential:
            convolution = torch.nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
            return torch.nn.Sequential(convolution, torch.nn.BatchNorm2d(outputs), torch.nn.ReLU())

        self.features = torch.nn.Sequential(
            block(1, width, 1), block(width, 2 * width, 2), block(2 * width, 2 * width, 2)
        )
        self.head = torch.nn.Linear(2 * width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x).mean((2, 3)))


class Block(torch.nn.Module):
    """Compute a transformer's block; each projection is a linear layer, which quantization can find."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = torch.nn.LayerNorm(width), torch.nn.LayerNorm(width)
        self.qkv, self.out = torch.nn.Linear(width, 3 * width), torch.nn.Linear(width, width)
        self.up, self.down = torch.nn.Linear(width, 4 * width), torch.nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(batch, tokens, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)
        x = x + self.out(attended.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.down(functional.gelu(self.up(self.norm2(x))))


class Transformer(torch.nn.Module):
    """Classify by a transformer: the eight rows of an image are tokens, and their mean goes into a linear head."""

    def __init__(self, width: int = 64, heads: int = 4, blocks: int = 2) -> None:
        super().__init__()
        self.embed = torch.nn.Linear(8, width)
        self.position = torch.nn.Parameter(0.1 * torch.randn(8, width))
        self.blocks = torch.nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.norm, self.head = torch.nn.LayerNorm(width), torch.nn.Linear(width, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x.flatten(1, 2)) + self.position
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(1))


@functools.cache
def data(test: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return images (samples, 1, 8, 8) from -1 to 1 and their labels: the test split, or the training split."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
    part = slice(-TEST, None) if test else slice(-TEST)
    return images[part], torch.tensor(digits.target)[part]


def calibration(batch_size: int = 32) -> Iterator[torch.Tensor]:
    """Yield batches of the training split."""
    yield from data(test=False)[0].split(batch_size)


def top1(model: Callable[..., torch.Tensor], device: torch.device) -> float:
    """Return the share of the test split that the model classifies correctly."""
    images, shown = data(test=True)
    return float((model(images.to(device)).argmax(-1).cpu() == shown).double().mean())


def train(model: torch.nn.Module, epochs: int) -> None:
    """Train a model on the training split; the caller has set the seed."""
    images, shown = data(test=False)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    steps = epochs * (len(images) // 64 + 1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    for _ in range(epochs):
        for chosen in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            functional.cross_entropy(model(images[chosen]), shown[chosen]).backward()
            optimizer.step()
            schedule.step()
    model.eval()


def main(arguments: list[str] | None = None) -> Any:
    """Train the model that is named, and write its state dict."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=("cnn", "transformer"))
    parser.add_argument("file", help="where the state dict is written")
    parser.add_argument("--epochs", type=int, default=20)
    options = parser.parse_args(arguments)
    torch.manual_seed(0)
    model = CNN() if options.model == "cnn" else Transformer()
    train(model, options.epochs)
    torch.save(model.state_dict(), options.file)
    with torch.no_grad():
        print(f"top-1 {top1(model, torch.device('cpu')):.4f}, written: {options.file}")


if __name__ == "__main__":
    main()
