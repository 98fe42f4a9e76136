"""encoder/export/unigram_source.py: what it takes from a tokenizer.json and what it refuses."""

import copy
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "encoder", "export"))
from reference_unigram import ReferenceUnigram  # noqa: E402
from source_error import SourceError  # noqa: E402
from unigram_source import MARK, convert  # noqa: E402

METASPACE = {"type": "Metaspace", "replacement": MARK, "prepend_scheme": "always", "split": True}
SPLIT = {"type": "WhitespaceSplit"}
REPLACE = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}
STRIP = {"type": "Strip", "strip_left": False, "strip_right": True}
PRECOMPILED = {"type": "Precompiled", "precompiled_charsmap": "BAAAAA=="}
FAST = {
    "normalizer": PRECOMPILED,
    "pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT, METASPACE]},
    "added_tokens": [{"id": 0, "content": "<s>"}, {"id": 1, "content": "<unk>"}],
    "model": {
        "type": "Unigram",
        "unk_id": 1,
        "vocab": [["<s>", 0.0], ["<unk>", 0.0], [MARK, -2], [MARK + "a", -1.5]],
        "byte_fallback": False,
    },
}


def sequence(*steps):
    return {"type": "Sequence", "normalizers": list(steps)}


def changed(**parts):
    """FAST with other parts; `model` is merged."""
    fast = copy.deepcopy(FAST)
    fast["model"].update(parts.pop("model", {}))
    fast.update(parts)
    return fast


class ConvertTest(unittest.TestCase):
    def test_takes_what_xlm_r_has(self):
        options, vocabulary = convert(FAST)
        self.assertEqual(
            options,
            {"type": "unigram", "whitespace_split": True, "prefix_space": True, "strip_left": False,
             "strip_right": False, "collapse_spaces": "", "unk_id": 1},
        )
        self.assertEqual(vocabulary, {"pieces": FAST["model"]["vocab"], "charsmap": "BAAAAA=="})

    def test_takes_the_normalizers_it_knows(self):
        def read(normalizer):
            options, vocabulary = convert(changed(normalizer=normalizer))
            names = ("strip_left", "strip_right", "collapse_spaces")
            return (vocabulary["charsmap"], *(options[name] for name in names))

        self.assertEqual(read(None), ("", False, False, ""))
        self.assertEqual(read(sequence(PRECOMPILED)), ("BAAAAA==", False, False, ""))
        self.assertEqual(read(sequence(PRECOMPILED, STRIP, REPLACE)), ("BAAAAA==", False, True, " "))
        self.assertEqual(read(sequence({**REPLACE, "content": MARK})), ("", False, False, MARK))
        self.assertEqual(read({**STRIP, "strip_left": True}), ("", True, True, ""))

    def test_takes_metaspace_alone(self):
        options, _ = convert(changed(pre_tokenizer=METASPACE))
        self.assertEqual((options["whitespace_split"], options["prefix_space"]), (False, True))
        options, _ = convert(changed(pre_tokenizer={"type": "Metaspace", "replacement": MARK, "add_prefix_space": True}))
        self.assertTrue(options["prefix_space"])
        options, _ = convert(changed(pre_tokenizer={**METASPACE, "prepend_scheme": "never", "add_prefix_space": False}))
        self.assertFalse(options["prefix_space"])

    def test_added_tokens_beyond_the_model_have_no_score(self):
        added = [{"id": 5, "content": "<b>"}, {"id": 4, "content": "<a>"}, *FAST["added_tokens"]]
        _, vocabulary = convert(changed(added_tokens=added))
        self.assertEqual(vocabulary["pieces"][4:], [["<a>", None], ["<b>", None]])

    def test_refuses_the_rest(self):
        for parts, message in (
            ({"model": {"type": "BPE"}}, "the model is 'BPE'"),
            ({"model": {"byte_fallback": True}}, "byte_fallback is true"),
            ({"model": {"unk_id": None}}, "unk_id is None"),
            ({"model": {"unk_id": 4}}, "unk_id is 4; it must be the id of one of the 4 pieces"),
            ({"model": {"vocab": {"a": 0}}}, "no list of pieces"),
            ({"model": {"vocab": [["a"]]}}, "vocab entry 0"),
            ({"model": {"vocab": [["a", float("nan")]]}}, "vocab entry 0"),
            ({"normalizer": {"type": "NFKC"}}, "the normalizers are ['NFKC']"),
            ({"normalizer": sequence(REPLACE, PRECOMPILED)}, "in this order"),
            ({"normalizer": sequence(PRECOMPILED, PRECOMPILED)}, "each once at most"),
            ({"normalizer": {**PRECOMPILED, "precompiled_charsmap": "?"}}, "not base64"),
            ({"normalizer": {**REPLACE, "pattern": {"String": "  "}}}, "Replace turns"),
            ({"normalizer": {**REPLACE, "content": ""}}, "Replace turns"),
            ({"pre_tokenizer": None}, "the pre-tokenizers are []"),
            ({"pre_tokenizer": SPLIT}, "the pre-tokenizers are ['WhitespaceSplit']"),
            ({"pre_tokenizer": {**METASPACE, "replacement": "_"}}, "replacement is '_'"),
            ({"pre_tokenizer": {**METASPACE, "prepend_scheme": "first"}}, "prepend_scheme is 'first'"),
            ({"pre_tokenizer": {**METASPACE, "add_prefix_space": False}}, "add_prefix_space false"),
            ({"pre_tokenizer": {**METASPACE, "split": False}}, "split is false"),
            ({"added_tokens": [{"id": 5, "content": "<a>"}]}, "has id 5, 4 expected"),
            ({"added_tokens": [{"id": 4, "content": "<s>"}]}, "has id 4, 0 expected"),
        ):
            with self.subTest(message), self.assertRaises(SourceError) as raised:
                convert(changed(**parts))
            self.assertIn(message, str(raised.exception))


class ReferenceUnigramTest(unittest.TestCase):
    def test_reads_by_the_converted_files(self):
        reference = ReferenceUnigram(*convert(changed(normalizer=None)))
        self.assertEqual(reference.encode(" a \u4e2db"), [3, 2, 1])


if __name__ == "__main__":
    unittest.main()
