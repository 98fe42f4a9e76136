"""Tiny random sentence-transformers directories, and what the tests of encoder/export do with them."""

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import unittest

import torch

SOURCE = os.environ.get("VECINO_SOURCE_DIR", os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(SOURCE, "encoder", "export"))

import export as exporter  # noqa: E402
from eager_bert import eager_model  # noqa: E402
from source_folder import SourceError  # noqa: E402
from weights import WeightsError  # noqa: E402

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz0123456789.,!?-",
              "the", "of", "##s", "##er", "spider", "chess", "play"]
CONFIG = {
    "model_type": "bert", "hidden_act": "gelu", "hidden_size": 24, "num_hidden_layers": 2,
    "num_attention_heads": 3, "intermediate_size": 40, "max_position_embeddings": 32,
    "type_vocab_size": 2, "vocab_size": len(VOCABULARY), "layer_norm_eps": 1e-12,
}


def random_weights():
    generator = torch.Generator().manual_seed(7)

    def rand(*shape):
        return torch.randn(*shape, generator=generator) * 0.3

    width, inner = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    weights = {
        "embeddings.word_embeddings.weight": rand(CONFIG["vocab_size"], width),
        "embeddings.position_embeddings.weight": rand(CONFIG["max_position_embeddings"], width),
        "embeddings.token_type_embeddings.weight": rand(2, width),
        "embeddings.position_ids": torch.arange(CONFIG["max_position_embeddings"]).unsqueeze(0),
        "pooler.dense.weight": rand(width, width),
    }
    for number in range(CONFIG["num_hidden_layers"]):
        name = f"encoder.layer.{number}."
        for part, shape in (("attention.self.query", (width, width)), ("attention.self.key", (width, width)),
                            ("attention.self.value", (width, width)), ("attention.output.dense", (width, width)),
                            ("intermediate.dense", (inner, width)), ("output.dense", (width, inner))):
            weights[f"{name}{part}.weight"], weights[f"{name}{part}.bias"] = rand(*shape), rand(shape[0])
    for norm in ["embeddings"] + [f"encoder.layer.{n}.{p}" for n in range(2) for p in ("attention.output", "output")]:
        weights[norm + ".LayerNorm.weight"], weights[norm + ".LayerNorm.bias"] = 1 + rand(width), rand(width)
    return weights


def write_safetensors(path, tensors, dtype="F32"):
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name, tensor in tensors.items():
        if tensor.dtype == torch.int64:
            kind, raw = "I64", tensor.numpy().tobytes()
        elif dtype == "BF16":  # numpy has no bfloat16: keep the upper two bytes of each float
            kind, raw = dtype, tensor.numpy().astype("<f4").view("<u4").__rshift__(16).astype("<u2").tobytes()
        else:
            kind, raw = dtype, tensor.numpy().astype({"F32": "<f4", "F16": "<f2", "F64": "<f8"}[dtype]).tobytes()
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    head = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(head)) + head + body)


class SourceTestCase(unittest.TestCase):
    """self.source is a BERT to export, self.out where to."""

    def setUp(self):
        torch.set_num_threads(1)
        self.temp = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.temp)
        self.source = os.path.join(self.temp, "source")
        self.out = os.path.join(self.temp, "models", "tiny-model")
        os.makedirs(os.path.join(self.source, "1_Pooling"))
        self.config = dict(CONFIG)
        self.weights = random_weights()
        write_safetensors(self.path("model.safetensors"), self.weights)
        self.write("config.json", CONFIG)
        self.write("sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": False})
        self.write("1_Pooling/config.json", {"word_embedding_dimension": 24, "pooling_mode_mean_tokens": True,
                                             "pooling_mode_cls_token": False, "pooling_mode_max_tokens": False})
        self.write_modules("Transformer", "Pooling", "Normalize")
        self.write("tokenizer_config.json", {"do_lower_case": True, "strip_accents": None, "model_max_length": 512})
        self.write("tokenizer.json", {
            "truncation": {"max_length": 10},
            "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                           "strip_accents": None, "lowercase": True},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 60, "vocab": {t: i for i, t in enumerate(VOCABULARY)}},
        })
        with open(self.path("vocab.txt"), "w", encoding="utf-8") as file:
            file.write("\n".join(VOCABULARY) + "\n")

    def path(self, name):
        return os.path.join(self.source, name)

    def write(self, name, value):
        with open(self.path(name), "w", encoding="utf-8") as file:
            json.dump(value, file)

    def write_modules(self, *kinds):
        paths = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
        self.write("modules.json", [{"idx": i, "name": str(i), "path": paths.get(kind, f"{i}_{kind}"),
                                     "type": f"sentence_transformers.models.{kind}"} for i, kind in enumerate(kinds)])

    def edit(self, name, **changes):
        with open(self.path(name), encoding="utf-8") as file:
            value = json.load(file)
        value.update(changes)
        self.write(name, value)

    def manifest(self):
        with open(os.path.join(self.out, "manifest.json"), encoding="utf-8") as file:
            return json.load(file)

    def golden(self):
        with open(os.path.join(self.out, "golden.json"), encoding="utf-8") as file:
            return json.load(file)["sentences"]

    def rewrite(self, name, content):
        """Changes a file of the model folder, and its hash in the manifest."""
        with open(os.path.join(self.out, name), "wb") as file:
            file.write(content)
        manifest = self.manifest()
        manifest["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        with open(os.path.join(self.out, "manifest.json"), "w", encoding="utf-8") as file:
            json.dump(manifest, file)

    def assert_refused(self, pattern, **arguments):
        with self.assertRaisesRegex((SourceError, WeightsError), pattern):
            exporter.export(self.source, self.out, **arguments)
        self.assertFalse(os.path.exists(self.out), "nothing may be left of a refused export")
        parent = os.path.dirname(self.out)
        self.assertEqual(os.listdir(parent) if os.path.exists(parent) else [], [])

    def check_vectors(self, pooling, normalize):
        """The TorchScript module, alone and in a padded batch, against the eager model."""
        module = torch.jit.load(os.path.join(self.out, "model.pt"))
        eager = eager_model(self.config, self.weights, pooling, normalize)
        rows = [golden["ids"] for golden in self.golden()]
        width = max(map(len, rows))
        ids = torch.tensor([row + [0] * (width - len(row)) for row in rows])
        batch = module(ids, torch.tensor([len(row) for row in rows]))
        for row, padded, golden in zip(rows, batch, self.golden()):
            expected = eager.embed(row)
            alone = module(torch.tensor([row]), torch.tensor([len(row)]))[0]
            self.assertLess((alone - expected).abs().max().item(), 1e-5)
            self.assertLess((padded - expected).abs().max().item(), 1e-5)
            self.assertLess((torch.tensor(golden["vector"]) - expected).abs().max().item(), 1e-6)
            if normalize:
                self.assertAlmostEqual(expected.norm().item(), 1, places=5)

    def embed(self, executor, model="tiny-model"):
        """Embeds the golden sentences with the C++ encoder: its exit status, its log, and the vectors."""
        tool = os.environ.get("VECINO_EMBED_LINES")
        if not tool:
            self.skipTest("VECINO_EMBED_LINES does not say where embed_lines is")
        vectors = os.path.join(self.temp, "vectors")
        texts = [golden["text"] for golden in self.golden() if "\n" not in golden["text"]]
        run = subprocess.run([tool, "--executor", executor, os.path.dirname(self.out), model, vectors],
                             input="".join(text + "\n" for text in texts).encode(), capture_output=True)
        return run.returncode, run.stderr.decode(), vectors

    def check_executors(self):
        """Both executors prove the golden sentences and give the same vectors."""
        both = []
        for executor, by in (("fused", "fused executor"), ("torchscript", "TorchScript")):
            status, log, vectors = self.embed(executor)
            self.assertEqual(status, 0, log)
            self.assertIn(f"model tiny-model runs by {by}", log)
            with open(vectors, "rb") as file:
                both.append(torch.frombuffer(bytearray(file.read()), dtype=torch.float32))
        self.assertGreater(len(both[0]), 24)
        self.assertLess((both[0] - both[1]).abs().max().item(), 2e-5)
