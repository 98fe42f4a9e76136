"""The module that is exported: BERT, pooling and normalising in one TorchScript graph.

It differs from the eager model where that is faster and changes nothing but rounding: query, key and value are one
linear, 1/sqrt(head size) is folded into the query weights, and the mask is left out when nothing is padded.
"""

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Layer(nn.Module):
    def __init__(self, config):
        super().__init__()
        width, eps = config["hidden_size"], config.get("layer_norm_eps", 1e-12)
        self.heads = config["num_attention_heads"]
        self.head_size = width // self.heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.up = nn.Linear(width, config["intermediate_size"])
        self.down = nn.Linear(config["intermediate_size"], width)
        self.out_norm = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor, mask: Optional[Tensor]) -> Tensor:
        rows, length, width = x.shape
        # [3, rows, heads, length, head_size]
        fused = self.query_key_value(x).view(rows, length, 3, self.heads, self.head_size).permute(2, 0, 3, 1, 4)
        scores = torch.matmul(fused[0], fused[1].transpose(2, 3))
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        context = torch.matmul(torch.softmax(scores, dim=3), fused[2]).transpose(1, 2).reshape(rows, length, width)
        x = self.attention_norm(self.attention_out(context) + x)
        return self.out_norm(self.down(F.gelu(self.up(x))) + x)


class BertModule(nn.Module):
    """forward(ids int64 [B, L], lengths int64 [B], each in [1, L]) -> float32 [B, hidden_size]."""

    def __init__(self, config, pooling, normalize):
        super().__init__()
        width = config["hidden_size"]
        self.word = nn.Embedding(config["vocab_size"], width)
        self.position = nn.Embedding(config["max_position_embeddings"], width)
        self.norm = nn.LayerNorm(width, eps=config.get("layer_norm_eps", 1e-12))
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config["num_hidden_layers"]))
        self.norm_eps: float = config.get("layer_norm_eps", 1e-12)
        self.mean_pooling: bool = pooling == "mean"
        self.normalize: bool = normalize

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        length = ids.shape[1]
        x = self.norm(self.word(ids) + self.position.weight[:length])
        padding: Optional[Tensor] = None  # [B, L], true where there is no token
        mask: Optional[Tensor] = None  # [B, 1, 1, L]
        if int(lengths.min()) < length:
            columns = torch.arange(length, device=ids.device)
            padded = columns.unsqueeze(0) >= lengths.unsqueeze(1)
            padding = padded
            mask = padded.unsqueeze(1).unsqueeze(1)
        for layer in self.layers:
            x = layer(x, mask)
        if self.mean_pooling:
            if padding is not None:
                x = x.masked_fill(padding.unsqueeze(2), 0.0)
            vectors = x.sum(dim=1) / lengths.unsqueeze(1).to(x.dtype)
        else:
            vectors = x[:, 0]
        return F.normalize(vectors, dim=1) if self.normalize else vectors


def build_module(source, weights):
    """Returns the BertModule of `source` filled from `weights`; KeyError or RuntimeError when they do not fit."""
    weights = {name[5:] if name.startswith("bert.") else name: w for name, w in weights.items()}
    module = BertModule(source.config, source.pooling, source.normalize)
    embeddings = "embeddings."
    state = {
        "word.weight": weights[embeddings + "word_embeddings.weight"],
        # Sentences are never pairs, so the first token type is added to every position once, here.
        "position.weight": weights[embeddings + "position_embeddings.weight"]
        + weights[embeddings + "token_type_embeddings.weight"][0],
        "norm.weight": weights[embeddings + "LayerNorm.weight"],
        "norm.bias": weights[embeddings + "LayerNorm.bias"],
    }
    scale = (source.config["hidden_size"] // source.config["num_attention_heads"]) ** -0.5
    for number in range(source.config["num_hidden_layers"]):
        old, new = f"encoder.layer.{number}.", f"layers.{number}."
        for kind in ("weight", "bias"):
            query, key, value = (weights[f"{old}attention.self.{part}.{kind}"] for part in ("query", "key", "value"))
            state[f"{new}query_key_value.{kind}"] = torch.cat([query * scale, key, value])
            for ours, theirs in (
                ("attention_out", "attention.output.dense"),
                ("attention_norm", "attention.output.LayerNorm"),
                ("up", "intermediate.dense"),
                ("down", "output.dense"),
                ("out_norm", "output.LayerNorm"),
            ):
                state[f"{new}{ours}.{kind}"] = weights[f"{old}{theirs}.{kind}"]
    module.load_state_dict(state)
    return module.eval()


def script_module(module):
    """Returns the TorchScript of `module`: not frozen, so that its weights can be read by name (encoder/torch_executor.h)."""
    return torch.jit.script(module)
