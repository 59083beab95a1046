"""An example of one's own model: token ids and an attention mask in, one vector a sentence and its token scores out."""

import torch


class Embedder(torch.nn.Module):
    """A two-layer transformer encoder with mean pooling."""

    def __init__(self, vocabulary: int = 1000, width: int = 64) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, width)
        layer = torch.nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=128, batch_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.score = torch.nn.Linear(width, 8)

    def forward(self, ids: torch.Tensor, *, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        tokens = self.encoder(self.embedding(ids)) * mask.unsqueeze(-1)
        return {"sentence": tokens.sum(1) / mask.sum(1, keepdim=True), "scores": self.score(tokens)}
