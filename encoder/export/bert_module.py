"""The module that is exported: BERT or a relative of it, pooling and normalising in one TorchScript graph.

It differs from the eager models where that is faster and changes nothing but rounding: query, key and value are one
linear, 1/sqrt(head size) is folded into the query weights, the mask is left out when nothing is padded, and MPNet's
buckets of relative positions are a table by distance.

Whoever runs it may turn the weights and biases of the linears, and of no other, to a narrower type: products and
attention are then in that type, and what is added up from layer to layer and the norms stay as they are. In bfloat16 that
is faster than all in bfloat16 (whose norms are slow on CPU) and closer to fp32 (docs/encoder.md).
"""

import math
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

    def forward(self, x: Tensor, mask: Optional[Tensor], bias: Optional[Tensor]) -> Tensor:
        rows, length, width = x.shape
        kind = self.query_key_value.weight.dtype
        # [3, rows, heads, length, head_size]
        fused = self.query_key_value(x.to(kind)).view(rows, length, 3, self.heads, self.head_size).permute(2, 0, 3, 1, 4)
        scores = torch.matmul(fused[0], fused[1].transpose(2, 3))
        if bias is not None:
            scores = scores + bias
        if mask is not None:
            scores = scores.masked_fill(mask, float("-inf"))
        weights = torch.softmax(scores, dim=3).to(kind)
        context = torch.matmul(weights, fused[2]).transpose(1, 2).reshape(rows, length, width)
        x = self.attention_norm(self.attention_out(context).to(x.dtype) + x)
        return self.out_norm(self.down(F.gelu(self.up(x.to(kind)))).to(x.dtype) + x)


class BertModule(nn.Module):
    """forward(ids int64 [B, L], lengths int64 [B], each in [1, L]) -> float32 [B, hidden_size]."""

    def __init__(self, config, pooling, normalize, position_pad_id=-1, distances=0):
        super().__init__()
        width = config["hidden_size"]
        self.word = nn.Embedding(config["vocab_size"], width)
        self.position = nn.Embedding(config["max_position_embeddings"], width)
        self.norm = nn.LayerNorm(width, eps=config.get("layer_norm_eps", 1e-12))
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config["num_hidden_layers"]))
        self.norm_eps: float = config.get("layer_norm_eps", 1e-12)
        self.mean_pooling: bool = pooling == "mean"
        self.normalize: bool = normalize
        # From RoBERTa on, tokens are counted from this id + 1, and those that are it are not counted; -1: from 0.
        self.position_pad_id: int = position_pad_id
        # [heads, distances]: what is added to a score, by key position - query position; the middle one is 0.
        self.relative_bias = nn.Parameter(torch.zeros(config["num_attention_heads"] if distances else 0, distances))

    def _positions(self, ids: Tensor) -> Tensor:
        if self.position_pad_id < 0:
            return self.position.weight[: ids.shape[1]]
        counted = ids.ne(self.position_pad_id).to(torch.long)
        return self.position(torch.cumsum(counted, dim=1) * counted + self.position_pad_id)

    def _bias(self, length: int) -> Optional[Tensor]:
        """[heads, query, key]"""
        if self.relative_bias.shape[1] == 0:
            return None
        places = torch.arange(length, device=self.relative_bias.device)
        return self.relative_bias[:, places.unsqueeze(0) - places.unsqueeze(1) + self.relative_bias.shape[1] // 2]

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        length = ids.shape[1]
        x = self.norm(self.word(ids) + self._positions(ids))
        padding: Optional[Tensor] = None  # [B, L], true where there is no token
        mask: Optional[Tensor] = None  # [B, 1, 1, L]
        if int(lengths.min()) < length:
            columns = torch.arange(length, device=ids.device)
            padded = columns.unsqueeze(0) >= lengths.unsqueeze(1)
            padding = padded
            mask = padded.unsqueeze(1).unsqueeze(1)
        bias = self._bias(length)
        for layer in self.layers:
            x = layer(x, mask, bias)
        if self.mean_pooling:
            if padding is not None:
                x = x.masked_fill(padding.unsqueeze(2), 0.0)
            vectors = x.sum(dim=1) / lengths.unsqueeze(1).to(x.dtype)
        else:
            vectors = x[:, 0]
        return F.normalize(vectors, dim=1) if self.normalize else vectors


# The names of a layer's weights.
_BERT_NAMES = {
    "query": "attention.self.query", "key": "attention.self.key", "value": "attention.self.value",
    "attention_out": "attention.output.dense", "attention_norm": "attention.output.LayerNorm",
    "up": "intermediate.dense", "down": "output.dense", "out_norm": "output.LayerNorm",
}
_MPNET_NAMES = _BERT_NAMES | {
    "query": "attention.attn.q", "key": "attention.attn.k", "value": "attention.attn.v",
    "attention_out": "attention.attn.o", "attention_norm": "attention.LayerNorm",
}


def _relative_bias(embedding, longest):
    """[heads, 2 * longest - 1] of MPNet's [buckets, heads], by key position - query position.

    The buckets are T5's (Raffel et al. 2019, section 2.1): half of them for keys that come after; of each half the
    first half for one distance each, the others for ranges that grow, the last without end.
    """
    buckets = embedding.shape[0] // 2
    exact = buckets // 2
    distance = torch.arange(-(longest - 1), longest)
    far = distance.abs()
    ranges = exact + (torch.log(far.clamp(min=1).float() / exact) / math.log(128 / exact) * (buckets - exact)).long()
    bucket = torch.where(far < exact, far, ranges.clamp(max=buckets - 1)) + (distance > 0).long() * buckets
    return embedding[bucket].t().contiguous()


def build_module(source, weights):
    """Returns the BertModule of `source` filled from `weights`; KeyError or RuntimeError when they do not fit."""
    prefix = {"bert": "bert.", "mpnet": "mpnet."}.get(source.config["model_type"], "roberta.")
    weights = {name.removeprefix(prefix): w for name, w in weights.items()}
    embeddings = "embeddings."
    position = weights[embeddings + "position_embeddings.weight"]
    token_types = weights.get(embeddings + "token_type_embeddings.weight")
    if token_types is not None:
        # Sentences are never pairs, so the first token type is added to every position once, here.
        position = position + token_types[0]
    elif source.config["model_type"] != "mpnet":
        raise KeyError(embeddings + "token_type_embeddings.weight")
    state = {
        "word.weight": weights[embeddings + "word_embeddings.weight"],
        "position.weight": position,
        "norm.weight": weights[embeddings + "LayerNorm.weight"],
        "norm.bias": weights[embeddings + "LayerNorm.bias"],
        "relative_bias": torch.zeros(0, 0),
    }
    names = _BERT_NAMES
    if source.config["model_type"] == "mpnet":
        names = _MPNET_NAMES
        state["relative_bias"] = _relative_bias(weights["encoder.relative_attention_bias.weight"], source.positions)
    scale = (source.config["hidden_size"] // source.config["num_attention_heads"]) ** -0.5
    for number in range(source.config["num_hidden_layers"]):
        old, new = f"encoder.layer.{number}.", f"layers.{number}."
        for kind in ("weight", "bias"):
            query, key, value = (weights[f"{old}{names[part]}.{kind}"] for part in ("query", "key", "value"))
            state[f"{new}query_key_value.{kind}"] = torch.cat([query * scale, key, value])
            for part in ("attention_out", "attention_norm", "up", "down", "out_norm"):
                state[f"{new}{part}.{kind}"] = weights[f"{old}{names[part]}.{kind}"]
    module = BertModule(source.config, source.pooling, source.normalize, source.position_pad_id,
                        state["relative_bias"].shape[1])
    module.load_state_dict(state)
    return module.eval()


def script_module(module):
    """Returns the TorchScript of `module`: not frozen, so that its weights can be read by name (encoder/torch_executor.h)."""
    return torch.jit.script(module)
