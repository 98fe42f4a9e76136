"""Tests encoder/export on tiny random BERT directories. Runs with Debian's python3, torch and numpy."""

import contextlib
import hashlib
import io
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
from eager_bert import EagerBert  # noqa: E402
from golden_sentences import GOLDEN_SENTENCES  # noqa: E402
from reference_tokenizer import ReferenceTokenizer  # noqa: E402
from source_folder import SourceError, read_source  # noqa: E402
from weights import WeightsError, read_weights  # noqa: E402

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


class ExportTest(unittest.TestCase):
    def setUp(self):
        torch.set_num_threads(1)
        self.temp = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.temp)
        self.source = os.path.join(self.temp, "source")
        self.out = os.path.join(self.temp, "models", "tiny-model")
        os.makedirs(os.path.join(self.source, "1_Pooling"))
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

    def assert_refused(self, pattern, **arguments):
        with self.assertRaisesRegex((SourceError, WeightsError), pattern):
            exporter.export(self.source, self.out, **arguments)
        self.assertFalse(os.path.exists(self.out), "nothing may be left of a refused export")
        parent = os.path.dirname(self.out)
        self.assertEqual(os.listdir(parent) if os.path.exists(parent) else [], [])

    def check_vectors(self, pooling, normalize):
        """The TorchScript module, alone and in a padded batch, against the eager model."""
        module = torch.jit.load(os.path.join(self.out, "model.pt"))
        eager = EagerBert(CONFIG, self.weights, pooling, normalize)
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

    def test_manifest_says_everything(self):
        self.write("config_sentence_transformers.json", {"prompts": {"query": "query: ", "passage": "passage: "}})
        exporter.export(self.source, self.out)
        manifest = self.manifest()
        self.assertEqual(sorted(os.listdir(self.out)), ["golden.json", "manifest.json", "model.pt", "vocab.txt"])
        self.assertEqual(os.listdir(os.path.dirname(self.out)), ["tiny-model"])
        for name, entry in manifest["files"].items():
            with open(os.path.join(self.out, name), "rb") as file:
                data = file.read()
            self.assertEqual(entry, {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)})
        with open(self.path("model.safetensors"), "rb") as file:
            weights_sha256 = hashlib.sha256(file.read()).hexdigest()
        del manifest["files"]
        self.assertEqual(manifest, {
            "format_version": 1, "name": "tiny-model", "architecture": "bert", "dimension": 24,
            "max_tokens": 20,  # sentence_bert_config.json, not tokenizer.json
            "pooling": "mean", "normalize": True, "prompts": {"query": "query: ", "document": "passage: "},
            "precision": "fp32",
            "tokenizer": {"type": "wordpiece", "lowercase": True, "strip_accents": True,
                          "handle_chinese_chars": True, "clean_text": True, "max_word_chars": 60},
            "vocab_size": len(VOCABULARY),
            "source": {"weights_file": "model.safetensors", "weights_sha256": weights_sha256},
        })

    def test_poolings_and_normalize(self):
        for pooling in ("mean", "cls"):
            for normalize in (True, False):
                with self.subTest(pooling=pooling, normalize=normalize):
                    self.edit("1_Pooling/config.json", pooling_mode_mean_tokens=pooling == "mean",
                              pooling_mode_cls_token=pooling == "cls")
                    self.write_modules(*["Transformer", "Pooling", "Normalize"][: 3 if normalize else 2])
                    exporter.export(self.source, self.out, replace=True)
                    self.assertEqual((self.manifest()["pooling"], self.manifest()["normalize"]), (pooling, normalize))
                    self.check_vectors(pooling, normalize)

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

    def test_both_executors_run_what_is_exported(self):
        for pooling in ("mean", "cls"):
            for normalize in (True, False):
                self.edit("1_Pooling/config.json", pooling_mode_mean_tokens=pooling == "mean",
                          pooling_mode_cls_token=pooling == "cls")
                self.write_modules(*["Transformer", "Pooling", "Normalize"][: 3 if normalize else 2])
                exporter.export(self.source, self.out, replace=True)
                both = []
                for executor, by in (("fused", "fused executor"), ("torchscript", "TorchScript")):
                    status, log, vectors = self.embed(executor)
                    self.assertEqual(status, 0, log)
                    self.assertIn(f"model tiny-model runs by {by}", log)
                    with open(vectors, "rb") as file:
                        both.append(torch.frombuffer(bytearray(file.read()), dtype=torch.float32))
                self.assertGreater(len(both[0]), 24)
                self.assertLess((both[0] - both[1]).abs().max().item(), 2e-5, (pooling, normalize))

    def test_what_was_frozen_runs_by_torchscript(self):
        exporter.export(self.source, self.out)
        path = os.path.join(self.out, "model.pt")
        torch.jit.freeze(torch.jit.load(path).eval()).save(path)
        manifest = self.manifest()
        with open(path, "rb") as file:
            content = file.read()
        manifest["files"]["model.pt"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        with open(os.path.join(self.out, "manifest.json"), "w", encoding="utf-8") as file:
            json.dump(manifest, file)
        status, log, _ = self.embed("auto")
        self.assertEqual(status, 0, log)
        self.assertRegex(log, "tiny-model runs by TorchScript on cpu, not by the fused executor: .*export it again")
        status, log, _ = self.embed("fused")
        self.assertNotEqual(status, 0)
        self.assertIn("model tiny-model refused: FAILED_PRECONDITION", log)
        status, log, _ = self.embed("auto", "tiny-model@int8")
        self.assertNotEqual(status, 0)
        self.assertIn("'tiny-model@int8' is not loaded", log)

    def test_pytorch_bin_gives_the_same_vectors(self):
        exporter.export(self.source, self.out)
        expected = self.golden()
        os.remove(self.path("model.safetensors"))
        torch.save({"bert." + name: tensor for name, tensor in self.weights.items()}, self.path("pytorch_model.bin"))
        exporter.export(self.source, self.out, replace=True)
        self.assertEqual(self.manifest()["source"]["weights_file"], "pytorch_model.bin")
        self.assertEqual(self.golden(), expected)

    def test_pytorch_bin_runs_no_code(self):
        class Evil:
            def __reduce__(self):
                return os.mkdir, (marker,)

        marker = os.path.join(self.temp, "ran")
        os.remove(self.path("model.safetensors"))
        torch.save({"weight": Evil()}, self.path("pytorch_model.bin"))
        self.assert_refused("not a file of plain tensors")
        self.assertFalse(os.path.exists(marker))

    def test_golden_sentences_cover_long_short_and_empty(self):
        exporter.export(self.source, self.out)
        golden = self.golden()
        self.assertEqual([entry["text"] for entry in golden], GOLDEN_SENTENCES)
        lengths = {len(entry["ids"]) for entry in golden}
        self.assertEqual((min(lengths), max(lengths)), (2, 20))
        for entry in golden:
            self.assertEqual((entry["ids"][0], entry["ids"][-1]), (2, 3))
            self.assertEqual(len(entry["vector"]), 24)

    def test_narrow_floats_are_widened(self):
        for dtype, tolerance in (("F16", 1e-3), ("BF16", 1e-2), ("F64", 0)):
            path = os.path.join(self.temp, "narrow.safetensors")
            write_safetensors(path, self.weights, dtype)
            for name, tensor in read_weights(path).items():
                if tensor.is_floating_point():
                    self.assertEqual(tensor.dtype, torch.float32)
                    difference = (tensor - self.weights[name]).abs() / (self.weights[name].abs() + 1e-3)
                    self.assertLessEqual(difference.max().item(), tolerance)

    def test_damaged_safetensors(self):
        with open(self.path("model.safetensors"), "rb") as file:
            good = file.read()
        for bad in (b"", b"\0" * 7, struct.pack("<Q", 1 << 60) + good[8:], good[:200], good[:-4],
                    struct.pack("<Q", 2) + b"[["):
            with open(self.path("model.safetensors"), "wb") as file:
                file.write(bad)
            self.assert_refused("model.safetensors")

    def test_wrong_sha256(self):
        self.assert_refused("SHA-256 is .*, expected 0000", sha256="0" * 64)

    def test_right_sha256_in_upper_case(self):
        with open(self.path("model.safetensors"), "rb") as file:
            exporter.export(self.source, self.out, sha256=hashlib.sha256(file.read()).hexdigest().upper())
        self.assertTrue(os.path.exists(self.out))

    def test_missing_files(self):
        for name in ("modules.json", "config.json", "1_Pooling/config.json", "model.safetensors"):
            with self.subTest(name=name):
                os.rename(self.path(name), self.path("aside"))
                self.assert_refused(name)
                os.rename(self.path("aside"), self.path(name))
        os.remove(self.path("vocab.txt"))
        os.remove(self.path("tokenizer.json"))
        self.assert_refused("neither vocab.txt nor tokenizer.json")

    def test_vocabulary_of_tokenizer_json_alone(self):
        os.remove(self.path("vocab.txt"))
        exporter.export(self.source, self.out)
        with open(os.path.join(self.out, "vocab.txt"), encoding="utf-8") as file:
            self.assertEqual(file.read().split("\n"), VOCABULARY + [""])

    def test_refuses_what_it_cannot_reproduce(self):
        for name, changes, pattern in (
            ("config.json", {"model_type": "mpnet"}, "model_type is 'mpnet'"),
            ("config.json", {"hidden_act": "gelu_new"}, "hidden_act"),
            ("config.json", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
            ("config.json", {"num_attention_heads": 5}, "multiple"),
            ("config.json", {"vocab_size": 5}, "vocab_size"),
            ("config.json", {"intermediate_size": 41}, "do not fit"),
            ("config.json", {"num_hidden_layers": 3}, "do not fit"),
            ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "max_tokens"),
            ("1_Pooling/config.json", {"pooling_mode_mean_tokens": False}, "pooling is"),
            ("1_Pooling/config.json", {"word_embedding_dimension": 25}, "word_embedding_dimension"),
            ("sentence_bert_config.json", {"max_seq_length": 33}, "32 positions"),
            ("sentence_bert_config.json", {"max_seq_length": 0}, "max_seq_length"),
            ("tokenizer_config.json", {"do_lower_case": False}, "make them agree"),
            ("tokenizer.json", {"normalizer": {"type": "NFKC"}}, "BertNormalizer"),
            ("tokenizer.json", {"pre_tokenizer": {"type": "Whitespace"}}, "BertPreTokenizer"),
        ):
            with self.subTest(name=name, changes=changes):
                with open(self.path(name), encoding="utf-8") as file:
                    good = json.load(file)
                self.edit(name, **changes)
                self.assert_refused(pattern)
                self.write(name, good)
        self.write_modules("Transformer", "Pooling", "Dense", "Normalize")
        self.assert_refused("Dense")

    def test_refuses_vocabularies_that_differ(self):
        with open(self.path("vocab.txt"), "a", encoding="utf-8") as file:
            file.write("extra\n")
        self.assert_refused("different vocabularies")

    def test_replaces_only_when_told(self):
        exporter.export(self.source, self.out)
        with self.assertRaisesRegex(SourceError, "--replace"):
            exporter.export(self.source, self.out)
        self.edit("sentence_bert_config.json", max_seq_length=18)
        exporter.export(self.source, self.out, replace=True)
        self.assertEqual(self.manifest()["max_tokens"], 18)
        self.assertEqual(os.listdir(os.path.dirname(self.out)), ["tiny-model"])

    def test_names(self):
        for name in (".hidden", "with space", "-x", "a" * 129):
            with self.assertRaisesRegex(SourceError, "cannot name a model"):
                exporter.export(self.source, os.path.join(self.temp, name))

    def test_command_line(self):
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            self.assertEqual(exporter.main([self.path("none"), self.out]), 1)
            self.assertEqual(exporter.main([self.source, self.out]), 0)
        self.assertIn("no such directory", err.getvalue())
        self.assertIn(self.out, out.getvalue())

    def test_reference_tokenizer(self):
        source = read_source(self.source)
        tokenizer = ReferenceTokenizer(source.vocabulary, source.tokenizer)
        number = VOCABULARY.index
        for text, expected in (
            ("", []),
            ("Spiders play", [number("spider"), number("##s"), number("play")]),
            ("chess,THE", [number("chess"), number(","), number("the")]),
            ("\u00c0", [number("a")]),
            ("chessboard", [number("[UNK]")]),
            ("x" * 61, [number("[UNK]")]),
            ("a[MASK]b", [number("a"), number("[MASK]"), number("b")]),
            ("[mask]", [number("[UNK]"), number("[UNK]"), number("[UNK]")]),
            ("a\u4e2da", [number("a"), number("[UNK]"), number("a")]),
            ("a\x07b\u00ada", [number("[UNK]")]),
        ):
            self.assertEqual(tokenizer.encode(text, 20), [2, *expected, 3], text)
        self.assertEqual(tokenizer.encode("a " * 50, 10), [2, *[number("a")] * 8, 3])

    def test_eager_model_equals_torchs_own_encoder_layers(self):
        """The reference against code that is not ours: torch.nn.TransformerEncoderLayer."""
        ids = [2, 7, 9, 11, 3]
        eager = EagerBert(CONFIG, self.weights, "mean", True)
        embeddings = (self.weights["embeddings.word_embeddings.weight"][torch.tensor(ids)]
                      + self.weights["embeddings.position_embeddings.weight"][:5]
                      + self.weights["embeddings.token_type_embeddings.weight"][0])
        x = torch.nn.functional.layer_norm(embeddings, (24,), self.weights["embeddings.LayerNorm.weight"],
                                           self.weights["embeddings.LayerNorm.bias"], 1e-12).unsqueeze(0)
        for number in range(2):
            layer = torch.nn.TransformerEncoderLayer(24, 3, 40, 0.0, torch.nn.functional.gelu, 1e-12, batch_first=True)
            state = {}
            for kind in ("weight", "bias"):
                get = lambda name: self.weights[f"encoder.layer.{number}.{name}.{kind}"]  # noqa: E731
                state[f"self_attn.in_proj_{kind}"] = torch.cat(
                    [get(f"attention.self.{part}") for part in ("query", "key", "value")])
                state[f"self_attn.out_proj.{kind}"] = get("attention.output.dense")
                state[f"linear1.{kind}"] = get("intermediate.dense")
                state[f"linear2.{kind}"] = get("output.dense")
                state[f"norm1.{kind}"] = get("attention.output.LayerNorm")
                state[f"norm2.{kind}"] = get("output.LayerNorm")
            layer.load_state_dict(state)
            with torch.no_grad():
                x = layer.train()(x)  # training mode keeps torch off its fused path; dropout is 0
        expected = torch.nn.functional.normalize(x[0].mean(dim=0), dim=0)
        self.assertLess((eager.embed(ids) - expected).abs().max().item(), 1e-6)


if __name__ == "__main__":
    unittest.main()
