"""Tokenizers written to be read. They make the golden ids, which the server's tokenizer must match.

It uses Python's Unicode tables, which may be older or newer than the server's: feed it only characters on which
all versions agree.
"""

import re
import unicodedata

_CJK = (
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F),
    (0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)


def _is_control(char):
    return char not in "\t\n\r" and unicodedata.category(char) in ("Cc", "Cf", "Cn", "Co", "Cs")


def _is_space(char):
    return char in " \t\n\r" or unicodedata.category(char) == "Zs"


def _is_punctuation(char):
    code = ord(char)
    ascii_symbol = 33 <= code <= 47 or 58 <= code <= 64 or 91 <= code <= 96 or 123 <= code <= 126
    return ascii_symbol or unicodedata.category(char).startswith("P")


class ReferenceWordPiece:
    """BERT's: text to ids, without special tokens. vocabulary: token by id; options: the manifest's `tokenizer`."""

    def __init__(self, options, vocabulary):
        self._ids = {token: number for number, token in enumerate(vocabulary)}
        self._options = options
        self._unk = self._ids[options.get("unk", "[UNK]")]

    def _normalize(self, text):
        if self._options["clean_text"]:
            text = "".join(
                " " if _is_space(c) else c for c in text if c not in "\0\ufffd" and not _is_control(c)
            )
        if self._options["handle_chinese_chars"]:
            text = "".join(f" {c} " if any(a <= ord(c) <= b for a, b in _CJK) else c for c in text)
        if self._options["strip_accents"]:
            text = "".join(c for c in unicodedata.normalize("NFD", text) if unicodedata.category(c) != "Mn")
        return text.lower() if self._options["lowercase"] else text

    def _words(self, text):
        for run in text.split():
            word = ""
            for char in run:
                if _is_punctuation(char):
                    if word:
                        yield word
                    yield char
                    word = ""
                else:
                    word += char
            if word:
                yield word

    def _pieces(self, word):
        """Longest match first; [UNK] when a part of the word is not in the vocabulary."""
        if len(word) > self._options["max_word_chars"]:
            return [self._unk]
        ids, begin = [], 0
        while begin < len(word):
            for end in range(len(word), begin, -1):
                piece = word[begin:end] if begin == 0 else "##" + word[begin:end]
                if piece in self._ids:
                    ids.append(self._ids[piece])
                    begin = end
                    break
            else:
                return [self._unk]
        return ids

    def encode(self, text):
        return [i for word in self._words(self._normalize(text)) for i in self._pieces(word)]


class ReferenceTokenizer:
    """Text to ids, special tokens included.

    subwords: what `encode`s the text between special tokens; special: {"begin", "end": ids, "added_tokens": [{"content",
    "id", "lstrip", "rstrip"}], "two_between": whether a pair has `end` twice in its middle}.
    """

    def __init__(self, subwords, special):
        self._subwords = subwords
        self._special = special
        added = sorted(special["added_tokens"], key=lambda token: -len(token["content"]))
        self._by_content = {token["content"]: token["id"] for token in added}
        self._pattern = re.compile("|".join(
            (r"\s*" if token["lstrip"] else "") + "(?P<t%d>%s)" % (number, re.escape(token["content"]))
            + (r"\s*" if token["rstrip"] else "") for number, token in enumerate(added)
        ) or "(?!)")

    def _ids(self, text):
        ids, done = [], 0
        for match in self._pattern.finditer(text):
            ids += self._subwords.encode(text[done : match.start()]) if match.start() > done else []
            ids.append(self._by_content[match[match.lastgroup]])
            done = match.end()
        return ids + (self._subwords.encode(text[done:]) if done < len(text) else [])

    def encode(self, text, max_tokens):
        """Ids of `text`, at most max_tokens, cut from the end with the last special token kept."""
        return [self._special["begin"], *self._ids(text)[: max_tokens - 2], self._special["end"]]

    def encode_pair(self, first, second, max_tokens):
        """Ids of a pair and the place where its second text begins. Too long ones lose tokens of the longer text's end,
        one by one, as Hugging Face's "longest_first" does: once both are as long, the one that was shorter first."""
        a, b = self._ids(first), self._ids(second)
        longer, shorter = (a, b) if len(a) > len(b) else (b, a)
        between = [self._special["end"]] * (2 if self._special["two_between"] else 1)
        while len(a) + len(b) + len(between) + 2 > max_tokens:
            (longer if len(longer) > len(shorter) else shorter).pop()
        front = [self._special["begin"], *a, *between]
        return [*front, *b, self._special["end"]], len(front)
