"""BERT and its relatives as the papers and the weights' names have them, one text at a time: the reference for the
exported graph."""

import math

import torch
import torch.nn.functional as F


class EagerBert:
    """Embeds one row of ids. Shares no code with the exported module, on purpose."""

    def __init__(self, config, weights, pooling, normalize):
        self._config = config
        prefixes = ("bert.", "roberta.", "mpnet.")
        self._weights = {
            next((name[len(p):] for p in prefixes if name.startswith(p)), name): w for name, w in weights.items()
        }
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

    def _positions(self, ids):
        return list(range(len(ids)))

    def _token_types(self, types):
        return self._weights["embeddings.token_type_embeddings.weight"][torch.tensor(types)]

    def _attend(self, name, x):
        """The attention block: attention, output, residual, norm."""
        attended = self._linear(f"{name}.output.dense", self._attention(name, x))
        return self._layer_norm(f"{name}.output.LayerNorm", attended + x)

    def _hidden(self, ids, types):
        """What the last layer gives: [n, hidden_size]."""
        x = (
            self._weights["embeddings.word_embeddings.weight"][torch.tensor(ids)]
            + self._weights["embeddings.position_embeddings.weight"][torch.tensor(self._positions(ids))]
            + self._token_types(types)
        )
        x = self._layer_norm("embeddings.LayerNorm", x)
        for number in range(self._config["num_hidden_layers"]):
            name = f"encoder.layer.{number}"
            x = self._attend(f"{name}.attention", x)
            hidden = F.gelu(self._linear(f"{name}.intermediate.dense", x))
            x = self._layer_norm(f"{name}.output.LayerNorm", self._linear(f"{name}.output.dense", hidden) + x)
        return x

    @torch.no_grad()
    def embed(self, ids):
        """ids: list of n token ids. Returns float32 tensor [hidden_size]."""
        x = self._hidden(ids, [0] * len(ids))
        vector = x.mean(dim=0) if self._pooling == "mean" else x[0]
        return F.normalize(vector, dim=0) if self._normalize else vector

    # The two linears between the first token and a cross-encoder's logit.
    HEAD = ("pooler.dense", "classifier")

    @torch.no_grad()
    def logit(self, ids, types):
        """ids, types: lists of n token ids and their types, of a pair. Returns a float."""
        first = self._hidden(ids, types)[0]
        return self._linear(self.HEAD[1], torch.tanh(self._linear(self.HEAD[0], first))).item()


class EagerRoberta(EagerBert):
    """RoBERTa and XLM-R: positions are counted from the padding's id + 1, and padding inside a text is not counted."""

    HEAD = ("classifier.dense", "classifier.out_proj")

    def _positions(self, ids):
        pad = self._config["pad_token_id"]
        positions, counted = [], pad
        for token in ids:
            counted += token != pad
            positions.append(pad if token == pad else counted)
        return positions


class EagerMpnet(EagerRoberta):
    """MPNet: RoBERTa's positions, no token types, and a bias by the bucket of each pair's distance."""

    def _token_types(self, types):
        return 0

    @staticmethod
    def _bucket(relative, buckets=32, longest=128):
        """As Hugging Face's MPNetEncoder.relative_position_bucket, for one key position - query position."""
        bucket, n, buckets = 0, -relative, buckets // 2
        if n < 0:
            bucket, n = buckets, -n
        exact = buckets // 2
        if n < exact:
            return bucket + n
        scaled = torch.log(torch.tensor(float(n)) / exact) / math.log(longest / exact) * (buckets - exact)
        return bucket + min(exact + int(scaled), buckets - 1)

    def _attend(self, name, x):
        heads = self._config["num_attention_heads"]
        length, width = x.shape
        query, key, value = (
            self._linear(f"{name}.attn.{part}", x).view(length, heads, width // heads).transpose(0, 1)
            for part in "qkv"
        )
        table = self._weights["encoder.relative_attention_bias.weight"]
        bias = torch.stack([
            torch.stack([table[self._bucket(k - q, table.shape[0])] for k in range(length)]) for q in range(length)
        ])  # [query, key, heads]
        scores = query @ key.transpose(1, 2) / (width // heads) ** 0.5 + bias.permute(2, 0, 1)
        context = (scores.softmax(dim=-1) @ value).transpose(0, 1).reshape(length, width)
        return self._layer_norm(f"{name}.LayerNorm", self._linear(f"{name}.attn.o", context) + x)


def eager_model(config, weights, pooling, normalize):
    """The reference of config["model_type"]."""
    kinds = {"bert": EagerBert, "roberta": EagerRoberta, "xlm-roberta": EagerRoberta, "mpnet": EagerMpnet}
    return kinds[config["model_type"]](config, weights, pooling, normalize)
