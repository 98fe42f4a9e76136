"""Tests encoder/export on tiny random cross-encoders, and the C++ encoder on what it makes of them."""

import json
import os
import subprocess
import unittest

import torch
from tiny_source import SourceTestCase, exporter, write_safetensors
from tiny_cross_encoder import CrossEncoder

from eager_bert import eager_model
from source_folder import read_source


class RerankExportTest(SourceTestCase):
    def make(self, model_type="bert", **config):
        self.cross_encoder = CrossEncoder(model_type, **config)
        self.cross_encoder.write(self.source)

    def setUp(self):
        super().setUp()
        for name in os.listdir(self.source):
            if not os.path.isdir(self.path(name)):
                os.remove(self.path(name))

    def pairs(self):
        with open(os.path.join(self.out, "golden.json"), encoding="utf-8") as file:
            return json.load(file)["pairs"]

    def scores(self, executor, model="tiny-model"):
        """The golden pairs' scores by the C++ encoder, each alone and among others: exit status, log, scores, pairs."""
        tool = os.environ.get("VECINO_EMBED_LINES")
        if not tool:
            self.skipTest("VECINO_EMBED_LINES does not say where embed_lines is")
        # Those with one query together, so that they share batches.
        pairs = [pair for pair in self.pairs() if not set("\t\n") & set(pair["query"] + pair["text"])]
        path = os.path.join(self.temp, "scores")
        run = subprocess.run([tool, "--executor", executor, os.path.dirname(self.out), model, path],
                             input="".join(f"{p['query']}\t{p['text']}\n" for p in pairs).encode(), capture_output=True)
        if run.returncode != 0:
            return run.returncode, run.stderr.decode(), [], pairs
        with open(path, "rb") as file:
            return 0, run.stderr.decode(), torch.frombuffer(bytearray(file.read()), dtype=torch.float32).tolist(), pairs

    def test_manifest_says_what_it_is(self):
        self.make()
        exporter.export(self.source, self.out)
        manifest = self.manifest()
        for key in ("files", "source", "tokenizer", "vocab_size"):
            del manifest[key]
        self.assertEqual(manifest, {"format_version": 2, "task": "rerank", "activation": "sigmoid", "token_types": 2,
                                    "name": "tiny-model", "architecture": "bert", "max_tokens": 32, "precision": "fp32"})

    def test_every_architecture_by_both_executors(self):
        for model_type in ("bert", "roberta", "xlm-roberta", "mpnet"):
            with self.subTest(model_type=model_type):
                self.make(model_type)
                exporter.export(self.source, self.out, replace=True)
                self.assertEqual(self.manifest()["token_types"], 2 if model_type == "bert" else 1)
                logits = [pair["logit"] for pair in self.pairs()]
                self.assertGreater(max(logits) - min(logits), 0.1, "scores that are all alike prove nothing")
                for executor, by in (("fused", "fused executor"), ("torchscript", "TorchScript")):
                    status, log, scores, pairs = self.scores(executor)
                    self.assertEqual(status, 0, log)
                    self.assertIn(f"model tiny-model runs by {by}", log)
                    self.assertIn("a reranker (sigmoid), ", log)
                    self.assertEqual(len(scores), len(pairs))
                    for score, pair in zip(scores, pairs):
                        self.assertAlmostEqual(score, pair["score"], delta=1e-4)

    def test_fewer_bits_rank_about_the_same(self):
        self.make()
        exporter.export(self.source, self.out)
        for model in ("tiny-model@bf16", "tiny-model@int8"):
            status, log, scores, pairs = self.scores("fused", model)
            self.assertEqual(status, 0, log)
            both = torch.tensor([scores, [pair["score"] for pair in pairs]])
            self.assertGreater(torch.corrcoef(both)[0, 1].item(), 0.98, model)

    def test_the_second_text_has_a_type_of_its_own(self):
        self.make()
        exporter.export(self.source, self.out)
        source, eager = read_source(self.source), eager_model(self.cross_encoder.config, self.cross_encoder.weights, "cls", False)
        module = torch.jit.load(os.path.join(self.out, "model.pt"))
        ids, second = source.tokenizer.reference.encode_pair("chess", "play the spider", 32)
        typed = eager.logit(ids, [int(i >= second) for i in range(len(ids))])
        self.assertGreater(abs(typed - eager.logit(ids, [0] * len(ids))), 1e-3)
        self.assertAlmostEqual(module(torch.tensor([ids]), torch.tensor([len(ids)]), torch.tensor([second])).item(), typed,
                               delta=1e-5)
        for pair in self.pairs():
            last = len(pair["types"]) - 1
            self.assertEqual((pair["types"][0], pair["types"][last], sorted(pair["types"])), (0, 1, pair["types"]))
        # A tokenizer that gives none: all have the first type.
        self.edit("tokenizer_config.json", model_input_names=["input_ids", "attention_mask"])
        exporter.export(self.source, self.out, replace=True)
        self.assertEqual((self.manifest()["token_types"], {t for pair in self.pairs() for t in pair["types"]}), (1, {0}))
        status, log, scores, pairs = self.scores("auto")
        self.assertEqual(status, 0, log)
        for score, pair in zip(scores, pairs):
            self.assertAlmostEqual(score, pair["score"], delta=1e-4)

    def test_pairs_are_cut_as_by_hugging_face(self):
        """encode_pair of the tokenizers' "longest_first", written out."""
        self.make()
        encode = read_source(self.source).tokenizer.reference.encode_pair
        for a, b, room, expected in ((5, 5, 9, (4, 5)), (6, 5, 9, (5, 4)), (5, 6, 9, (4, 5)), (2, 9, 9, (2, 7)),
                                     (9, 2, 9, (7, 2)), (20, 20, 9, (4, 5)), (0, 20, 9, (0, 9)), (20, 0, 9, (9, 0)),
                                     (4, 5, 9, (4, 5)), (6, 6, 8, (4, 4))):
            ids, second = encode(" ".join("a" * a), " ".join("b" * b), room + 3)
            self.assertEqual((second - 2, len(ids) - second - 1), expected, (a, b, room))

    def test_what_makes_a_score_of_a_logit(self):
        for config, expected in (({}, "sigmoid"),
                                 ({"sentence_transformers": {"activation_fn": "torch.nn.modules.linear.Identity"}}, "identity"),
                                 ({"sbert_ce_default_activation_function": "torch.nn.modules.activation.Sigmoid"}, "sigmoid")):
            self.make(**config)
            exporter.export(self.source, self.out, replace=True)
            self.assertEqual(self.manifest()["activation"], expected)
            for pair in self.pairs():
                wanted = pair["logit"] if expected == "identity" else torch.sigmoid(torch.tensor(pair["logit"])).item()
                self.assertAlmostEqual(pair["score"], wanted, places=5)
            status, log, scores, pairs = self.scores("auto")
            self.assertEqual(status, 0, log)
            self.assertAlmostEqual(scores[-1], pairs[-1]["score"], delta=1e-4)

    def test_refuses_what_is_no_reranker(self):
        for config, pattern in (({"id2label": {"0": "NO", "1": "YES"}}, "2 labels"),
                                ({"sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}}, "Tanh"),
                                ({"architectures": ["BertModel"]}, "modules.json is missing"),
                                ({"hidden_act": "relu"}, "hidden_act is 'relu'")):
            with self.subTest(pattern=pattern):
                self.make(**config)
                self.assert_refused(pattern)
        self.make()
        self.edit("tokenizer_config.json", model_max_length=5)
        self.assert_refused("a window of 5 tokens")
        self.make()
        self.assert_refused("a cross-encoder, which has neither", prompts={"query": "q: "})
        self.assert_refused("a cross-encoder, which has neither", matryoshka=[8])
        weights = dict(self.cross_encoder.weights)
        del weights["classifier.weight"]
        write_safetensors(self.path("model.safetensors"), weights)
        self.assert_refused("do not fit config.json: 'classifier.weight'")
        write_safetensors(self.path("model.safetensors"),
                          weights | {"classifier.weight": torch.zeros(2, 24), "classifier.bias": torch.zeros(2)})
        self.assert_refused("do not fit config.json")

    def test_a_changed_golden_pair_is_found_at_load(self):
        for change, found in (
            (lambda pair: pair.update(logit=pair["logit"] + 0.01), "the logit is"),
            (lambda pair: pair["ids"].insert(1, 7), "token ids are"),
            (lambda pair: pair["types"].__setitem__(0, 1), "token types are"),
        ):
            self.make()
            exporter.export(self.source, self.out, replace=True)
            pairs = self.pairs()
            change(pairs[4])
            self.rewrite("golden.json", json.dumps({"pairs": pairs}).encode())
            status, log, _, _ = self.scores("auto")
            self.assertNotEqual(status, 0)
            self.assertIn("model tiny-model refused: DATA_LOSS", log)
            self.assertIn(found, log)


if __name__ == "__main__":
    unittest.main()
