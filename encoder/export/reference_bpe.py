"""Byte-level BPE, written to be read. It makes the golden ids, which the server's tokenizer must match.

It uses Python's Unicode tables, which may be older or newer than the server's: feed it only characters on which
all versions agree.
"""

import math
import re
import unicodedata

from bpe_source import byte_alphabet

_SPACES = "\t\n\v\f\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# GPT-2's expression, over a text in which x stands for letters and 0 for numbers.
_WORDS = re.compile(
    f"'s|'t|'re|'ve|'m|'ll|'d| ?[A-Za-z]+| ?[0-9]+| ?[^{_SPACES}A-Za-z0-9]+|[{_SPACES}]+(?![^{_SPACES}])|[{_SPACES}]+"
)


def _stand_in(char):
    return char if char.isascii() else {"L": "x", "N": "0"}.get(unicodedata.category(char)[0], char)


class ReferenceBpe:
    """Text to ids, without special tokens."""

    def __init__(self, options, vocabulary):
        tokens = vocabulary["tokens"]
        self._ids = {token: number for number, token in enumerate(tokens)}
        self._ranks = {}  # of a pair that stands twice the later counts, as in Hugging Face
        for rank, (left, right) in enumerate(vocabulary["merges"]):
            self._ranks[tokens[left], tokens[right]] = rank
        self._alphabet = byte_alphabet()
        self._add_prefix_space = options["add_prefix_space"]

    def _merge(self, word):
        """The best pair first, of equals the leftmost, one at a time."""
        while len(word) > 1:
            pairs = list(zip(word, word[1:]))
            at = min(range(len(pairs)), key=lambda i: self._ranks.get(pairs[i], math.inf))
            if pairs[at] not in self._ranks:
                break
            word[at : at + 2] = [word[at] + word[at + 1]]
        return word

    def encode(self, text):
        """Ids of `text`."""
        if self._add_prefix_space and text and not text.startswith(" "):
            text = " " + text
        ids = []
        for match in _WORDS.finditer("".join(map(_stand_in, text))):
            word = text[match.start() : match.end()].encode()
            ids += [self._ids[token] for token in self._merge([self._alphabet[byte] for byte in word])]
        return ids
