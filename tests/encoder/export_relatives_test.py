"""Tests encoder/export on tiny random RoBERTa, XLM-R and MPNet directories, and with tokenizers other than BERT's."""

import contextlib
import io
import json
import os
import unittest

import torch
from tiny_source import CONFIG, VOCABULARY, SourceTestCase, exporter, random_weights, write_safetensors

from bpe_source import byte_alphabet
from bert_module import _relative_bias
from eager_bert import EagerMpnet, EagerRoberta

RENAMED = {"[PAD]": "<pad>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}
MPNET_VOCABULARY = [RENAMED.get(token, token) for token in VOCABULARY]
PAD, BEGIN, END, MASK = (MPNET_VOCABULARY.index(token) for token in ("<pad>", "<s>", "</s>", "<mask>"))


def mpnet_weights():
    """BERT's under MPNet's names, and biases great enough to matter."""
    weights, out = random_weights(), {}
    for name, tensor in weights.items():
        for theirs, ours in (("attention.self.query", "attention.attn.q"), ("attention.self.key", "attention.attn.k"),
                             ("attention.self.value", "attention.attn.v"),
                             ("attention.output.dense", "attention.attn.o"),
                             ("attention.output.LayerNorm", "attention.LayerNorm")):
            name = name.replace(theirs, ours)
        if "token_type" not in name:
            out[name] = tensor
    out["encoder.relative_attention_bias.weight"] = torch.randn(32, 3, generator=torch.Generator().manual_seed(8))
    return out


class RelativesTest(SourceTestCase):
    def setUp(self):
        super().setUp()
        self.edit("tokenizer.json", **{
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 60, "vocab": {t: i for i, t in enumerate(MPNET_VOCABULARY)}},
            "added_tokens": [{"id": i, "content": MPNET_VOCABULARY[i], "single_word": False, "lstrip": i == MASK,
                              "rstrip": False, "normalized": False, "special": True} for i in (PAD, BEGIN, END, MASK)],
            "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", END], "cls": ["<s>", BEGIN]},
        })
        os.remove(self.path("vocab.txt"))

    def use(self, model_type, weights, prefix=""):
        self.config = CONFIG | {"model_type": model_type, "pad_token_id": 1, "layer_norm_eps": 1e-5}
        self.weights = weights
        self.write("config.json", self.config)
        write_safetensors(self.path("model.safetensors"), {prefix + name: t for name, t in weights.items()})

    def test_every_architecture(self):
        for model_type, weights, prefix in (("roberta", random_weights(), "roberta."), ("roberta", random_weights(), ""),
                                            ("xlm-roberta", random_weights(), ""), ("mpnet", mpnet_weights(), ""),
                                            ("mpnet", mpnet_weights(), "mpnet.")):
            for pooling in ("mean", "cls"):
                with self.subTest(model_type=model_type, prefix=prefix, pooling=pooling):
                    self.use(model_type, weights, prefix)
                    self.edit("1_Pooling/config.json", pooling_mode_mean_tokens=pooling == "mean",
                              pooling_mode_cls_token=pooling == "cls")
                    exporter.export(self.source, self.out, replace=True)
                    self.assertEqual(self.manifest()["architecture"], model_type)
                    self.check_vectors(pooling, True)
                    self.check_executors()

    def test_the_special_tokens_of_the_manifest(self):
        self.use("mpnet", mpnet_weights())
        exporter.export(self.source, self.out)
        tokenizer = self.manifest()["tokenizer"]
        self.assertEqual({name: tokenizer[name] for name in ("type", "begin", "end", "pad", "two_between")},
                         {"type": "wordpiece", "begin": BEGIN, "end": END, "pad": PAD, "two_between": True})
        self.assertEqual(tokenizer["added_tokens"][3],
                         {"content": "<mask>", "id": MASK, "lstrip": True, "rstrip": False})
        for golden in self.golden():
            self.assertEqual((golden["ids"][0], golden["ids"][-1]), (BEGIN, END))

    def use_tokenizer(self, fast, size):
        self.write("tokenizer.json", fast)
        weights = random_weights()
        weights["embeddings.word_embeddings.weight"] = torch.randn(size, 24, generator=torch.Generator().manual_seed(9))
        self.use("roberta", weights)
        self.config["vocab_size"] = size
        self.write("config.json", self.config)

    def check_other_tokenizer(self, kind):
        exporter.export(self.source, self.out)
        self.assertEqual(sorted(os.listdir(self.out)), ["golden.json", "manifest.json", "model.pt", "vocabulary.json"])
        self.assertEqual(self.manifest()["tokenizer"]["type"], kind)
        self.assertGreater(len({tuple(golden["ids"]) for golden in self.golden()}), 20)
        self.check_vectors("mean", True)
        self.check_executors()  # which proves the golden ids first

    def test_roberta_with_byte_level_bpe(self):
        tokens = ["<s>", "<pad>", "</s>", "<unk>", *byte_alphabet(), "th", "the", "\u0120the", "ch", "es"]
        self.use_tokenizer({
            "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(tokens)},
                      "merges": ["t h", "th e", "\u0120 the", "c h", "e s"]},
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False},
            "added_tokens": [{"id": i, "content": tokens[i]} for i in range(4)],
            "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]},
        }, len(tokens))
        self.check_other_tokenizer("bpe")

    def test_xlm_r_with_unigram(self):
        letters = "\u2581abcdefghijklmnopqrstuvwxyz0123456789.,!?-"
        pieces = [["<s>", 0], ["<pad>", 0], ["</s>", 0], ["<unk>", 0], *[[c, -5.5] for c in letters],
                  ["\u2581the", -3.25], ["es", -4], ["ch", -4]]
        self.use_tokenizer({
            "model": {"type": "Unigram", "unk_id": 3, "vocab": pieces},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always"}]},
            "added_tokens": [{"id": i, "content": pieces[i][0]} for i in range(4)],
            "post_processor": {"type": "TemplateProcessing", "single": [
                {"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}}],
                "pair": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}, {"SpecialToken": {"id": "</s>"}},
                         {"SpecialToken": {"id": "</s>"}}, {"Sequence": {"id": "B"}}, {"SpecialToken": {"id": "</s>"}}],
                "special_tokens": {"<s>": {"ids": [0]}, "</s>": {"ids": [2]}}},
        }, len(pieces))
        self.check_other_tokenizer("unigram")
        self.assertTrue(self.manifest()["tokenizer"]["two_between"])

    def test_padding_inside_a_text_has_its_own_position(self):
        """As Hugging Face's create_position_ids_from_input_ids."""
        self.use("roberta", random_weights())
        exporter.export(self.source, self.out)
        module = torch.jit.load(os.path.join(self.out, "model.pt"))
        eager = EagerRoberta(self.config, self.weights, "mean", True)
        row = [BEGIN, 7, 1, 8, 1, 1, 9, END]
        self.assertEqual(eager._positions(row), [2, 3, 1, 4, 1, 1, 5, 6])
        alone = module(torch.tensor([row]), torch.tensor([len(row)]))[0]
        self.assertLess((alone - eager.embed(row)).abs().max().item(), 1e-5)

    def test_windows_leave_room_for_the_first_positions(self):
        self.use("roberta", random_weights())
        self.edit("sentence_bert_config.json", max_seq_length=31)
        self.assert_refused("30 positions")
        self.edit("sentence_bert_config.json", max_seq_length=30)
        exporter.export(self.source, self.out)
        self.check_vectors("mean", True)
        self.check_executors()

    def test_relative_biases_by_distance(self):
        table = torch.arange(32.0).unsqueeze(1)
        biases = _relative_bias(table, 512)[0].tolist()
        self.assertEqual(len(biases), 1023)
        for distance in range(-511, 512):
            self.assertEqual(biases[distance + 511], EagerMpnet._bucket(distance), distance)
        # From T5's code: exact to 7, then in ranges, the last from 91 on.
        self.assertEqual([EagerMpnet._bucket(d) for d in (0, -1, -7, -8, -11, -12, -90, -91, -500, 1, 7, 8, 500)],
                         [0, 1, 7, 8, 8, 9, 14, 15, 15, 17, 23, 24, 31])

    def test_prompts_of_the_command_line(self):
        self.use("roberta", random_weights())
        self.write("config_sentence_transformers.json", {"prompts": {"query": "old: ", "passage": "passage: "}})
        self.assertEqual(exporter.main([self.source, self.out, "--query-prompt", "query: "]), 0)
        self.assertEqual(self.manifest()["prompts"],
                         {"query": "query: ", "document": "passage: ", "passage": "passage: "})
        self.assertEqual(exporter.main([self.source, self.out, "--replace", "--prompt", "clustering=a = b: ",
                                        "--prompt", "document=text: ", "--prompt", "passage="]), 0)
        self.assertEqual(self.manifest()["prompts"],
                         {"query": "old: ", "document": "text: ", "passage": "", "clustering": "a = b: "})
        for bad, why in ((["--prompt", "clustering"], "NAME=TEXT is expected"), (["--prompt", "=x"], "NAME=TEXT"),
                         (["--prompt", "a=b", "--prompt", "a=c"], "given twice"),
                         (["--prompt", "query=b", "--query-prompt", "c"], "given twice"),
                         (["--prompt", "é" * 33 + "=b"], "66 bytes")):
            error = io.StringIO()
            with self.subTest(bad=bad), contextlib.redirect_stderr(error):
                self.assertEqual(exporter.main([self.source, self.out, "--replace", *bad]), 1)
                self.assertIn(why, error.getvalue())

    def test_fewer_dimensions(self):
        self.use("roberta", random_weights())
        for bad in ("0", "24", "8,x"):
            self.assertEqual(exporter.main([self.source, self.out, "--matryoshka", bad]), 1, bad)
        self.assertEqual(exporter.main([self.source, self.out, "--matryoshka", "16,8,16"]), 0)
        self.assertEqual(self.manifest()["matryoshka"], [8, 16])

    def test_refuses_tokenizers_it_cannot_reproduce(self):
        self.use("roberta", random_weights())
        with open(self.path("tokenizer.json"), encoding="utf-8") as file:
            good = json.load(file)
        for changes, pattern in (
            ({"post_processor": {"type": "ByteLevel"}}, "post-processor is ByteLevel"),
            ({"added_tokens": [{"id": 3, "content": "x", "single_word": True}]}, "'x' is a single_word"),
            ({"model": good["model"] | {"type": "WordLevel"}}, "the model is WordLevel"),
            ({"model": good["model"] | {"unk_token": "<unk>"}}, "lacks <unk>"),
            ({"added_tokens": [{"id": 900, "content": "x"}]}, "901 tokens, config.json's vocab_size is"),
        ):
            with self.subTest(pattern=pattern):
                self.edit("tokenizer.json", **changes)
                self.assert_refused(pattern)
                self.write("tokenizer.json", good)


if __name__ == "__main__":
    unittest.main()
