"""Define an example of a user's own model, with two inputs and two outputs."""

import torch


class Embedder(torch.nn.Module):
    """Encode sentences by a two-layer transformer with mean pooling.

    Takes token ids and an attention mask; returns a vector for each sentence, and scores for its tokens.
    """

    def __init__(self, vocabulary: int = 1000, width: int = 64) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(vocabulary, width)
        layer = torch.nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=128, batch_first=True)
        self.encoder = torch.nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.score = torch.nn.Linear(width, 8)

    def forward(self, ids: torch.Tensor, *, mask: torch.Tensor) -> dict[str, torch.Tensor]:
        tokens = self.encoder(self.embedding(ids)) * mask.unsqueeze(-1)
        return {"sentence": tokens.sum(1) / mask.sum(1, keepdim=True), "scores": self.score(tokens)}
