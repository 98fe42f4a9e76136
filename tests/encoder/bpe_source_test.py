"""Tests encoder/export/bpe_source.py and reference_bpe.py. Runs with Debian's python3."""

import os
import sys
import unittest

SOURCE = os.environ.get("VECINO_SOURCE_DIR", os.path.join(os.path.dirname(__file__), "..", ".."))
sys.path.insert(0, os.path.join(SOURCE, "encoder", "export"))

from bpe_source import byte_alphabet, convert  # noqa: E402
from reference_bpe import ReferenceBpe  # noqa: E402
from source_error import SourceError  # noqa: E402

SPACE = "\u0120"  # the byte 0x20 in GPT-2's alphabet


def tokenizer_json(**model):
    """A small one; ids 0 to 255 are those of the bytes."""
    tokens = [*byte_alphabet(), "ab", SPACE + "ab", "aba"]
    return {
        "added_tokens": [{"id": 256, "content": "ab"}, {"id": 259, "content": "<mask>"}],
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
        "model": {
            "type": "BPE", "dropout": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
            "byte_fallback": False, "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": ["ab a", ["a", "b"], SPACE + " ab"], **model,
        },
    }


class BpeSourceTest(unittest.TestCase):
    def test_converts(self):
        options, vocabulary = convert(tokenizer_json())
        self.assertEqual(options, {"type": "bpe", "add_prefix_space": False})
        self.assertEqual(len(vocabulary["tokens"]), 260)
        self.assertEqual(vocabulary["tokens"][0x20], SPACE)
        self.assertEqual(vocabulary["tokens"][0xAD], "\u0143")
        self.assertEqual(vocabulary["tokens"][256:], ["ab", SPACE + "ab", "aba", "<mask>"])
        self.assertEqual(vocabulary["merges"], [[256, 97], [97, 98], [32, 256]])

    def test_takes_the_defaults_of_hugging_face(self):
        fast = tokenizer_json()
        fast["pre_tokenizer"] = {"type": "ByteLevel"}
        for key in ("type", "dropout", "byte_fallback", "ignore_merges", "continuing_subword_prefix"):
            del fast["model"][key]
        del fast["normalizer"], fast["added_tokens"]
        options, vocabulary = convert(fast)
        self.assertEqual(options, {"type": "bpe", "add_prefix_space": True})
        self.assertEqual(len(vocabulary["tokens"]), 259)

    def test_refuses_what_the_server_would_not_reproduce(self):
        for model, words in (
            ({"type": "WordPiece"}, "type is 'WordPiece'"),
            ({"dropout": 0.1}, "dropout is 0.1"),
            ({"continuing_subword_prefix": "##"}, "continuing_subword_prefix is '##'"),
            ({"end_of_word_suffix": "</w>"}, "end_of_word_suffix is '</w>'"),
            ({"byte_fallback": True}, "byte_fallback is True"),
            ({"ignore_merges": True}, "ignore_merges is True"),
            ({"merges": ["a b c"]}, "merge 0 is 'a b c'"),
            ({"merges": [["a", "b"], ["b", "a"]]}, "merge 1, ['b', 'a']: the vocabulary lacks 'ba'"),
            ({"merges": ["ab x1"]}, "lacks 'x1'"),
        ):
            self.assert_refused(tokenizer_json(**model), words)
        for key, value, words in (
            ("normalizer", {"type": "NFC"}, "normalizer is"),
            ("pre_tokenizer", None, "type is None"),
            ("pre_tokenizer", {"type": "Whitespace"}, "type is 'Whitespace'"),
            ("pre_tokenizer", {"type": "ByteLevel", "use_regex": False}, "use_regex is False"),
            ("added_tokens", [{"id": 260, "content": "<mask>"}], "has the id 260; by"),
            ("added_tokens", [{"id": 7, "content": "<mask>"}], "has the id 7; by"),
            ("added_tokens", [{"id": 257, "content": "ab"}], "has the id 257; by"),
        ):
            self.assert_refused({**tokenizer_json(), key: value}, words)

    def test_refuses_a_vocabulary_with_holes(self):
        fast = tokenizer_json()
        fast["model"]["vocab"]["aba"] = 300
        self.assert_refused(fast, "have gaps")
        self.assert_refused({**tokenizer_json(vocab={}), "added_tokens": []}, "lacks 256 of the 256")
        fast = tokenizer_json()
        vocabulary = fast["model"]["vocab"]
        vocabulary["unused"] = vocabulary.pop("A")
        self.assert_refused(fast, "lacks 1 of the 256 tokens of bytes, the first that of 0x41")

    def assert_refused(self, fast, words):
        with self.assertRaises(SourceError) as caught:
            convert(fast)
        self.assertIn(words, str(caught.exception))


class ReferenceBpeTest(unittest.TestCase):
    def read(self, text, **options):
        made, vocabulary = convert(tokenizer_json())
        ids = ReferenceBpe({**made, **options}, vocabulary).encode(text)
        return [vocabulary["tokens"][number] for number in ids]

    def test_merges_the_best_pair_first_and_one_at_a_time(self):
        self.assertEqual(self.read("abab"), ["aba", "b"])
        self.assertEqual(self.read("xab ab"), ["x", "ab", SPACE + "ab"])

    def test_cuts_words(self):
        self.assertEqual(self.read("a b"), ["a", SPACE, "b"])
        self.assertEqual(self.read("a1b"), ["a", "1", "b"])
        self.assertEqual(self.read("  ab"), [SPACE, SPACE + "ab"])
        self.assertEqual(self.read("ab  "), ["ab", SPACE, SPACE])

    def test_adds_a_space(self):
        self.assertEqual(self.read("ab", add_prefix_space=True), [SPACE + "ab"])
        self.assertEqual(self.read(" ab", add_prefix_space=True), [SPACE + "ab"])
        self.assertEqual(self.read("", add_prefix_space=True), [])


if __name__ == "__main__":
    unittest.main()
