"""Reads the byte-level BPE of a tokenizer.json and refuses what the server would not reproduce exactly."""

from source_error import SourceError


def byte_alphabet():
    """GPT-2's character for each byte: printable Latin-1 as it is, the others from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    alphabet = {byte: chr(byte) for byte in printable}
    alphabet.update((byte, chr(0x100 + n)) for n, byte in enumerate(others))
    return [alphabet[byte] for byte in range(256)]


def _refuse(what, found, supported):
    raise SourceError(f"tokenizer.json: {what} is {found!r}; supported: {supported}")


def _read_options(fast):
    model, pre_tokenizer = fast.get("model") or {}, fast.get("pre_tokenizer") or {}
    if model.get("type", "BPE") != "BPE":
        _refuse("the model's type", model["type"], "'BPE' here")
    if fast.get("normalizer") is not None:
        _refuse("normalizer", fast["normalizer"], "null with a BPE")
    if pre_tokenizer.get("type") != "ByteLevel":
        _refuse("the pre-tokenizer's type", pre_tokenizer.get("type"), "'ByteLevel' with a BPE")
    if pre_tokenizer.get("use_regex", True) is not True:
        _refuse("the pre-tokenizer's use_regex", pre_tokenizer["use_regex"], "true")
    for key in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback", "ignore_merges"):
        if model.get(key):
            _refuse(f"the model's {key}", model[key], "none")
    # Hugging Face takes true where it is not said.
    return {"type": "bpe", "add_prefix_space": bool(pre_tokenizer.get("add_prefix_space", True))}


def _read_tokens(fast):
    """The tokens by id: the model's, then the added ones that the model does not have."""
    ids = dict((fast.get("model") or {}).get("vocab") or {})
    tokens = sorted(ids, key=ids.get)
    if [ids[token] for token in tokens] != list(range(len(tokens))):
        raise SourceError(f"tokenizer.json: the ids of the {len(tokens)} tokens of the vocabulary have gaps")
    for added in fast.get("added_tokens") or []:
        token, number = added["content"], added["id"]
        if ids.setdefault(token, len(tokens)) != number:
            raise SourceError(
                f"tokenizer.json: the added token {token!r} has the id {number}; by the vocabulary and its"
                f" place among the added tokens it is {ids[token]}"
            )
        if number == len(tokens):
            tokens.append(token)
    missing = [byte for byte, char in enumerate(byte_alphabet()) if char not in ids]
    if missing:
        raise SourceError(
            f"tokenizer.json: the vocabulary lacks {len(missing)} of the 256 tokens of bytes, the first that of"
            f" 0x{missing[0]:02X}; a byte-level BPE has them all"
        )
    return tokens, ids


def _read_merges(fast, ids):
    merges = []
    for number, merge in enumerate(fast["model"].get("merges") or []):
        pair = merge.split(" ") if isinstance(merge, str) else list(merge)
        if len(pair) != 2:
            raise SourceError(f"tokenizer.json: merge {number} is {merge!r}; it must be two tokens")
        for token in (*pair, "".join(pair)):
            if token not in ids:
                raise SourceError(f"tokenizer.json: merge {number}, {merge!r}: the vocabulary lacks {token!r}")
        merges.append([ids[token] for token in pair])
    return merges


def convert(fast):
    """Of a parsed tokenizer.json: (the manifest's `tokenizer`, what goes into vocabulary.json).

    The second is {"tokens": [by id, in GPT-2's alphabet], "merges": [[left id, right id], best first]}.
    Raises SourceError.
    """
    options = _read_options(fast)
    tokens, ids = _read_tokens(fast)
    return options, {"tokens": tokens, "merges": _read_merges(fast, ids)}
