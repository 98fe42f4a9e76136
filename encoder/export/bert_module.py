"""The modules that are exported: BERT or a relative of it, with pooling and normalising, or with a cross-encoder's head,
in one TorchScript graph.

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

    def _padding(self, ids: Tensor, lengths: Tensor) -> Optional[Tensor]:
        """[B, L], true where there is no token; None where there is one everywhere."""
        if int(lengths.min()) < ids.shape[1]:
            return torch.arange(ids.shape[1], device=ids.device).unsqueeze(0) >= lengths.unsqueeze(1)
        return None

    def _hidden(self, words: Tensor, ids: Tensor, padding: Optional[Tensor]) -> Tensor:
        """What the last layer gives, [B, L, hidden_size]; words: the embeddings, as many."""
        x = self.norm(words + self._positions(ids))
        mask: Optional[Tensor] = None  # [B, 1, 1, L]
        if padding is not None:
            mask = padding.unsqueeze(1).unsqueeze(1)
        bias = self._bias(ids.shape[1])
        for layer in self.layers:
            x = layer(x, mask, bias)
        return x

    def forward(self, ids: Tensor, lengths: Tensor) -> Tensor:
        padding = self._padding(ids, lengths)
        x = self._hidden(self.word(ids), ids, padding)
        if self.mean_pooling:
            if padding is not None:
                x = x.masked_fill(padding.unsqueeze(2), 0.0)
            vectors = x.sum(dim=1) / lengths.unsqueeze(1).to(x.dtype)
        else:
            vectors = x[:, 0]
        return F.normalize(vectors, dim=1) if self.normalize else vectors


class CrossEncoderModule(BertModule):
    """forward(ids int64 [B, L], lengths, seconds int64 [B], each in [1, L]) -> float32 [B, 1]: logits of pairs.

    seconds: where the second text of each pair begins. The head's weights are no modules, so that they stay in fp32
    when linears are narrowed: a logit in bfloat16 would make ties.
    """

    def __init__(self, config, position_pad_id=-1, distances=0, token_types=1):
        super().__init__(config, "cls", False, position_pad_id, distances)
        width = config["hidden_size"]
        # What the tokens of a second text have beside those of a first: [0 or 1, width].
        self.second_type = nn.Parameter(torch.zeros(token_types - 1, width))
        self.dense_weight = nn.Parameter(torch.zeros(width, width))
        self.dense_bias = nn.Parameter(torch.zeros(width))
        self.out_weight = nn.Parameter(torch.zeros(1, width))
        self.out_bias = nn.Parameter(torch.zeros(1))

    def forward(self, ids: Tensor, lengths: Tensor, seconds: Tensor) -> Tensor:
        words = self.word(ids)
        if self.second_type.shape[0] > 0:
            columns = torch.arange(ids.shape[1], device=ids.device).unsqueeze(0)
            second = (columns >= seconds.unsqueeze(1)).to(words.dtype)
            words = words + second.unsqueeze(2) * self.second_type
        first = self._hidden(words, ids, self._padding(ids, lengths))[:, 0]
        return F.linear(torch.tanh(F.linear(first, self.dense_weight, self.dense_bias)), self.out_weight, self.out_bias)


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
# The two linears of a cross-encoder's head.
_HEADS = {"bert": ("pooler.dense", "classifier"), "roberta": ("classifier.dense", "classifier.out_proj")}


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
    """Returns the BertModule, or the CrossEncoderModule, of `source` filled from `weights`; KeyError or RuntimeError when
    they do not fit."""
    prefix = {"bert": "bert.", "mpnet": "mpnet."}.get(source.config["model_type"], "roberta.")
    weights = {name.removeprefix(prefix): w for name, w in weights.items()}
    embeddings = "embeddings."
    position = weights[embeddings + "position_embeddings.weight"]
    token_types = weights.get(embeddings + "token_type_embeddings.weight")
    if token_types is not None:
        # Of a text alone, and of the first of a pair: added to every position once, here.
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
    distances = state["relative_bias"].shape[1]
    if source.task == "rerank":
        module = CrossEncoderModule(source.config, source.position_pad_id, distances, source.token_types)
        dense, out = _HEADS.get(source.config["model_type"], _HEADS["roberta"])
        for name, theirs in (("dense", dense), ("out", out)):
            state |= {f"{name}_{kind}": weights[f"{theirs}.{kind}"] for kind in ("weight", "bias")}
        state["second_type"] = torch.zeros(0, source.config["hidden_size"])
        if source.token_types == 2:
            state["second_type"] = (token_types[1] - token_types[0]).unsqueeze(0)
    else:
        module = BertModule(source.config, source.pooling, source.normalize, source.position_pad_id, distances)
    module.load_state_dict(state)
    return module.eval()


def script_module(module):
    """Returns the TorchScript of `module`: not frozen, so that its weights can be read by name (encoder/torch_executor.h)."""
    return torch.jit.script(module)
