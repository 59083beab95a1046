"""Define small models that fail, each in its own phase, and a few that work; the tests sweep over them."""

import torch


class Raises(torch.nn.Module):
    """Raise an error in forward."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("forward went wrong")


class DataDependent(torch.nn.Module):
    """Branch on a value, which torch.export cannot follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum().item() > 0 else x - 1


class Constant(torch.nn.Module):
    """Return zeros whatever the input, so that the output proves nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


class Distance(torch.nn.Module):
    """Use a single operator, which has no FP16 kernel on a CPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cdist(x, x + 1)


class Scale(torch.nn.Module):
    """Multiply by a weight: the smallest model that works."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x * self.weight) + 1


class Generator(torch.nn.Module):
    """Use a generator, which TorchScript has not."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return sum(part * 2 for part in x.unbind(1))


class Singular(torch.nn.Module):
    """Compute singular values, for which ONNX has no operator."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(x)


class Synchronizes(torch.nn.Module):
    """Wait for the GPU, which no CUDA graph can."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(x.abs().max())


class Mapped(torch.nn.Module):
    """Use torch.vmap, for which the torch.compile backend of Torch-TensorRT from 2.12 on returns no module."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.vmap(lambda row: torch.relu(row) * 2)(x)
