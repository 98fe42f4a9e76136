"""Reads a tokenizer.json with a Unigram model and refuses what encoder/unigram.h would not reproduce exactly."""

import base64
import binascii
import math

from source_error import SourceError

MARK = "\u2581"
_NORMALIZERS = ("Precompiled", "Strip", "Replace")  # in the order in which the server applies them


def _refuse(what, supported):
    raise SourceError(f"tokenizer.json: {what}; supported: {supported}")


def _flatten(part, key):
    """The steps of `part`, which is null, one step or a Sequence of them under `key`."""
    if part is None:
        return []
    if part.get("type") != "Sequence":
        return [part]
    return [step for inner in part.get(key) or [] for step in _flatten(inner, key)]


def _read_normalizer(normalizer):
    """Returns (charsmap as base64, options)."""
    steps = _flatten(normalizer, "normalizers")
    kinds = [step.get("type") for step in steps]
    if kinds != [kind for kind in _NORMALIZERS if kind in kinds]:
        _refuse(f"the normalizers are {kinds}", "Precompiled, Strip and Replace, each once at most, in this order")
    by_kind = dict(zip(kinds, steps))
    charsmap = by_kind.get("Precompiled", {}).get("precompiled_charsmap") or ""
    try:
        base64.b64decode(charsmap, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise SourceError(f"tokenizer.json: precompiled_charsmap is not base64: {error}") from error
    strip, replace = by_kind.get("Strip", {}), by_kind.get("Replace")
    options = {side: strip.get(side) is True for side in ("strip_left", "strip_right")}
    options["collapse_spaces"] = ""
    if replace is not None:
        if replace.get("pattern") != {"Regex": " {2,}"} or replace.get("content") not in (" ", MARK):
            _refuse(
                f"Replace turns {replace.get('pattern')!r} into {replace.get('content')!r}",
                f"{{'Regex': ' {{2,}}'}} into ' ' or {MARK!r}",
            )
        options["collapse_spaces"] = replace["content"]
    return charsmap, options


def _read_pre_tokenizer(pre_tokenizer):
    steps = _flatten(pre_tokenizer, "pretokenizers")
    kinds = [step.get("type") for step in steps]
    if kinds not in (["Metaspace"], ["WhitespaceSplit", "Metaspace"]):
        _refuse(f"the pre-tokenizers are {kinds}", "Metaspace, alone or after WhitespaceSplit")
    metaspace = steps[-1]
    scheme = metaspace.get("prepend_scheme", "always")
    if metaspace.get("replacement") != MARK:
        _refuse(f"Metaspace's replacement is {metaspace.get('replacement')!r}", repr(MARK))
    if scheme not in ("always", "never"):
        _refuse(f"Metaspace's prepend_scheme is {scheme!r}", "'always' and 'never'")
    if metaspace.get("add_prefix_space") is False and scheme != "never":
        _refuse(f"Metaspace has add_prefix_space false and prepend_scheme {scheme!r}", "the two in agreement")
    if metaspace.get("split") not in (None, True):
        _refuse("Metaspace's split is false", "true")
    return {"whitespace_split": len(kinds) == 2, "prefix_space": scheme == "always"}


def _is_score(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _read_pieces(model, added_tokens):
    """[piece, score] by id; the score of an added token that is no piece of the model is None."""
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, list) or not vocabulary:
        raise SourceError("tokenizer.json: the model has no list of pieces (vocab)")
    pieces = []
    for number, entry in enumerate(vocabulary):
        if not (isinstance(entry, list) and len(entry) == 2 and isinstance(entry[0], str) and _is_score(entry[1])):
            raise SourceError(f"tokenizer.json: vocab entry {number} is {entry!r}, not a piece and its score")
        pieces.append(list(entry))
    ids = {piece: number for number, (piece, _) in enumerate(pieces)}
    for token in sorted(added_tokens or [], key=lambda token: token["id"]):
        content, number = token["content"], token["id"]
        if ids.setdefault(content, len(pieces)) != number:
            raise SourceError(
                f"tokenizer.json: the added token {content!r} has id {number}, {ids[content]} expected: ids must"
                " follow the model's without a gap, and be those of pieces where tokens are pieces"
            )
        if number == len(pieces):
            pieces.append([content, None])
    return pieces


def convert(fast):
    """Returns (the manifest's `tokenizer`, vocabulary.json) of a parsed tokenizer.json; raises SourceError.

    vocabulary.json: `pieces`, [piece, score] by id, where null is the score of an added token that no text has by
    itself; `charsmap`, sentencepiece's precompiled_charsmap in base64, empty when there is none. Special tokens,
    the post-processor and truncation are the caller's.
    """
    model = fast.get("model") or {}
    if model.get("type") != "Unigram":
        _refuse(f"the model is {model.get('type')!r}", "'Unigram'")
    if model.get("byte_fallback"):
        _refuse("byte_fallback is true", "false")
    charsmap, options = _read_normalizer(fast.get("normalizer"))
    options = {"type": "unigram", **_read_pre_tokenizer(fast.get("pre_tokenizer")), **options}
    pieces = _read_pieces(model, fast.get("added_tokens"))
    unk_id = model.get("unk_id")
    if not isinstance(unk_id, int) or not 0 <= unk_id < len(model["vocab"]):
        raise SourceError(
            f"tokenizer.json: unk_id is {unk_id!r}; it must be the id of one of the {len(model['vocab'])} pieces"
        )
    options["unk_id"] = unk_id
    return options, {"pieces": pieces, "charsmap": charsmap}
