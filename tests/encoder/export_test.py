"""Tests encoder/export on tiny random BERT directories. Runs with Debian's python3, torch and numpy."""

import contextlib
import hashlib
import io
import json
import os
import struct
import tempfile
import unittest

import torch
from tiny_source import CONFIG, VOCABULARY, SourceTestCase, exporter, write_safetensors

from eager_bert import EagerBert
from golden_sentences import GOLDEN_SENTENCES
from source_folder import SourceError, read_source
from weights import read_weights


class ExportTest(SourceTestCase):
    def test_manifest_says_everything(self):
        self.write("config_sentence_transformers.json", {
            "prompts": {"query": "query: ", "passage": "passage: ", "clustering": "cluster: "}})
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
            "pooling": "mean", "normalize": True, "prompts": {
                "query": "query: ", "document": "passage: ", "passage": "passage: ", "clustering": "cluster: "},
            "precision": "fp32",
            "tokenizer": {"type": "wordpiece", "lowercase": True, "strip_accents": True,
                          "handle_chinese_chars": True, "clean_text": True, "max_word_chars": 60},
            "vocab_size": len(VOCABULARY),
            "source": {"weights_file": "model.safetensors", "weights_sha256": weights_sha256},
        })

    def test_without_prompts_the_manifest_has_the_two_there_always_were(self):
        for config in (None, {}, {"prompts": None}, {"prompts": {}}):
            if config is not None:
                self.write("config_sentence_transformers.json", config)
            exporter.export(self.source, self.out, replace=True)
            with open(os.path.join(self.out, "manifest.json"), encoding="utf-8") as file:
                self.assertIn('"prompts": {\n    "query": "",\n    "document": ""\n  },', file.read())

    def test_prompts_that_the_server_would_not_read(self):
        for prompts, pattern in (({"a": 1}, "prompt 'a' is '1'; it must be a string"),
                                 ({"query": None}, "prompt 'query' is 'None'"),
                                 (["a"], "no object of names"),
                                 ({"": "x"}, "prompt name '' has 0 bytes"),
                                 ({"é" * 33: "x"}, "has 66 bytes; it must have 1 to 64"),
                                 ({"a": "\ud800"}, "prompt 'a' is not Unicode"),
                                 ({"a": "x" * 4097}, "prompt 'a' has 4097 bytes; at most 4096"),
                                 ({str(i): "" for i in range(63)}, "65 prompts, .* at most 64")):
            with self.subTest(pattern=pattern):
                self.write("config_sentence_transformers.json", {"prompts": prompts})
                self.assert_refused(pattern)
        most = {"é" * 32: "x" * 4096, **{str(i): "" for i in range(61)}}
        self.write("config_sentence_transformers.json", {"prompts": most})
        self.edit("1_Pooling/config.json", include_prompt=False)  # leaves the prompt's tokens out of the mean
        self.assert_refused("include_prompt false is not supported")
        self.edit("1_Pooling/config.json", include_prompt=True)
        exporter.export(self.source, self.out)
        self.assertEqual(self.manifest()["prompts"], {"query": "", "document": "", **most})

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

    def test_both_executors_run_what_is_exported(self):
        for pooling in ("mean", "cls"):
            for normalize in (True, False):
                self.edit("1_Pooling/config.json", pooling_mode_mean_tokens=pooling == "mean",
                          pooling_mode_cls_token=pooling == "cls")
                self.write_modules(*["Transformer", "Pooling", "Normalize"][: 3 if normalize else 2])
                exporter.export(self.source, self.out, replace=True)
                with self.subTest(pooling=pooling, normalize=normalize):
                    self.check_executors()

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
            ("config.json", {"model_type": "t5"}, "model_type is 't5'"),
            ("config.json", {"model_type": "mpnet", "relative_attention_num_buckets": 64}, "num_buckets"),
            ("config.json", {"model_type": "roberta", "pad_token_id": 31}, "pad_token_id"),
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
        tokenizer = read_source(self.source).tokenizer.reference
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
