"""sentencepiece's Unigram as Hugging Face runs it, written to be read. It makes golden ids, which the server's
tokenizer must match.

It uses Python's Unicode tables, which may be older or newer than the server's, and only the rules of grapheme
clusters that matter in the golden sentences: feed it only characters on which all versions agree.
"""

import base64
import re
import struct
import unicodedata

MARK = "\u2581"
_WHITE = "\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"  # White_Space, of every version
_UNKNOWN_PENALTY = 10


def _read_charsmap(data):
    """{key: replacement} of a precompiled_charsmap, keys and replacements as bytes."""
    if not data:
        return {}
    (size,) = struct.unpack_from("<I", data)
    units = struct.unpack_from(f"<{size // 4}I", data, 4)
    strings = data[4 + size :]

    def offset(unit):
        return unit >> 10 << ((unit & 1 << 9) >> 6)

    mapping, pending = {}, [(b"", offset(units[0]))]
    while pending:
        key, base = pending.pop()
        for byte in range(1, 256):
            unit = units[base ^ byte]
            if unit & (1 << 31 | 0xFF) != byte:
                continue
            child = base ^ byte ^ offset(unit)
            if unit >> 8 & 1:
                begin = units[child] & (1 << 31) - 1
                mapping[key + bytes([byte])] = strings[begin : strings.index(b"\0", begin)]
            pending.append((key + bytes([byte]), child))
    return mapping


def _clusters(text):
    """A character and the marks after it; CR LF; controls alone."""
    cluster = ""
    for char in text:
        attaches = unicodedata.category(char).startswith("M") or char in "\u200c\u200d"
        controls = cluster != "" and unicodedata.category(cluster[-1]) in ("Cc", "Cf", "Zl", "Zp") and (
            cluster[-1] not in "\u200c\u200d"
        )
        if cluster and not (attaches and not controls) and cluster + char != "\r\n":
            yield cluster
            cluster = ""
        cluster += char
    if cluster:
        yield cluster


class ReferenceUnigram:
    """Text to ids, without special tokens."""

    def __init__(self, options, vocabulary):
        self._options = options
        self._charsmap = _read_charsmap(base64.b64decode(vocabulary["charsmap"]))
        pieces = vocabulary["pieces"]
        self._ids = {piece: i for i, (piece, score) in enumerate(pieces) if score is not None}
        self._scores = [score for _, score in pieces]
        self._longest = max(map(len, self._ids))
        self._unknown_score = min(score for score in self._scores if score is not None) - _UNKNOWN_PENALTY

    def _find(self, text):
        """What the shortest key at the front of `text` maps to, or None."""
        data = text.encode()
        for end in range(1, len(data) + 1):
            if data[:end] in self._charsmap:
                return self._charsmap[data[:end]].decode()
        return None

    def _normalize(self, text):
        parts = []
        if self._charsmap:
            for cluster in _clusters(text):
                whole = self._find(cluster) if len(cluster.encode()) < 6 else None
                parts += [whole] if whole is not None else [
                    char if (found := self._find(char)) is None else found for char in cluster
                ]
            text = "".join(parts)
        if self._options["strip_left"]:
            text = re.sub(f"\\A[{_WHITE}]+", "", text)
        if self._options["strip_right"]:
            text = re.sub(f"[{_WHITE}]+\\Z", "", text)
        if self._options["collapse_spaces"]:
            text = re.sub(" {2,}", self._options["collapse_spaces"], text)
        return text

    def _words(self, text):
        runs = re.split(f"[{_WHITE}]+", text) if self._options["whitespace_split"] else [text]
        for run in runs:
            run = run.replace(" ", MARK)
            if run and self._options["prefix_space"] and not run.startswith(MARK):
                run = MARK + run
            yield from re.findall(f"{MARK}[^{MARK}]*|[^{MARK}]+", run)

    def _pieces(self, word):
        """The pieces with the greatest sum of scores; of equal sums the one that is found first."""
        unknown = self._options["unk_id"]
        best = [(0.0, None, None)] + [None] * len(word)  # sum, id and begin of the last piece
        for begin in range(len(word)):
            offers = [
                (end, self._ids[word[begin:end]])
                for end in range(begin + 1, min(len(word), begin + self._longest) + 1)
                if word[begin:end] in self._ids
            ]
            offers = [(end, i, self._scores[i]) for end, i in offers]
            if not offers or offers[0][0] != begin + 1:
                offers.append((begin + 1, unknown, self._unknown_score))
            for end, i, score in offers:
                if best[end] is None or best[begin][0] + score > best[end][0]:
                    best[end] = (best[begin][0] + score, i, begin)
        ids, end = [], len(word)
        while end > 0:
            _, i, end = best[end]
            if i != unknown or not ids or ids[-1] != unknown:  # neighbouring unknowns are one
                ids.append(i)
        return ids[::-1]

    def encode(self, text):
        return [i for word in self._words(self._normalize(text)) for i in self._pieces(word)]
