"""BERT as the paper and the weights' names have it, one text at a time: the reference for the exported graph."""

import torch
import torch.nn.functional as F


class EagerBert:
    """Embeds one row of ids. Shares no code with the exported module, on purpose."""

    def __init__(self, config, weights, pooling, normalize):
        self._config = config
        self._weights = {name[5:] if name.startswith("bert.") else name: w for name, w in weights.items()}
        self._pooling = pooling
        self._normalize = normalize

    def _linear(self, name, x):
        return F.linear(x, self._weights[name + ".weight"], self._weights[name + ".bias"])

    def _layer_norm(self, name, x):
        weight, bias = self._weights[name + ".weight"], self._weights[name + ".bias"]
        return F.layer_norm(x, (x.shape[-1],), weight, bias, self._config.get("layer_norm_eps", 1e-12))

    def _attention(self, name, x):
        heads = self._config["num_attention_heads"]
        length, width = x.shape
        query, key, value = (
            self._linear(f"{name}.self.{part}", x).view(length, heads, width // heads).transpose(0, 1)
            for part in ("query", "key", "value")
        )
        scores = query @ key.transpose(1, 2) / (width // heads) ** 0.5
        return (scores.softmax(dim=-1) @ value).transpose(0, 1).reshape(length, width)

    @torch.no_grad()
    def embed(self, ids):
        """ids: list of n token ids. Returns float32 tensor [hidden_size]."""
        x = (
            self._weights["embeddings.word_embeddings.weight"][torch.tensor(ids)]
            + self._weights["embeddings.position_embeddings.weight"][: len(ids)]
            + self._weights["embeddings.token_type_embeddings.weight"][0]
        )
        x = self._layer_norm("embeddings.LayerNorm", x)
        for number in range(self._config["num_hidden_layers"]):
            name = f"encoder.layer.{number}"
            attended = self._linear(f"{name}.attention.output.dense", self._attention(f"{name}.attention", x))
            x = self._layer_norm(f"{name}.attention.output.LayerNorm", attended + x)
            hidden = F.gelu(self._linear(f"{name}.intermediate.dense", x))
            x = self._layer_norm(f"{name}.output.LayerNorm", self._linear(f"{name}.output.dense", hidden) + x)
        vector = x.mean(dim=0) if self._pooling == "mean" else x[0]
        return F.normalize(vector, dim=0) if self._normalize else vector
