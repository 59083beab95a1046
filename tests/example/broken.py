"""Models that fail, each in its own phase; the tests sweep over them."""

import torch


class Raises(torch.nn.Module):
    """Its forward raises."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("forward went wrong")


class DataDependent(torch.nn.Module):
    """torch.export cannot follow its branch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2 if x.sum().item() > 0 else x - 1


class Constant(torch.nn.Module):
    """Its output says nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(x)


class Distance(torch.nn.Module):
    """Its only operator has no FP16 kernel on a CPU."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cdist(x, x + 1)


class Scale(torch.nn.Module):
    """The smallest model that works."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.tensor(2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x * self.weight) + 1


class Generator(torch.nn.Module):
    """TorchScript has no generators."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return sum(part * 2 for part in x.unbind(1))


class Singular(torch.nn.Module):
    """ONNX has no operator for its singular values."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(x)


class Synchronizes(torch.nn.Module):
    """It waits for the GPU, which no CUDA graph can."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * float(x.abs().max())


class Mapped(torch.nn.Module):
    """From Torch-TensorRT 2.12 on its torch.compile backend hands out no module for it."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.vmap(lambda row: torch.relu(row) * 2)(x)
