"""Reads the tokenizer of a sentence-transformers directory: BERT's WordPiece, byte-level BPE or Unigram."""

import dataclasses
import json
import os

import bpe_source
import unigram_source
from reference_bpe import ReferenceBpe
from reference_tokenizer import ReferenceTokenizer, ReferenceWordPiece
from reference_unigram import ReferenceUnigram
from source_error import SourceError, read_json, require

# Model of a tokenizer.json: what reads it, and what makes golden ids.
_OTHERS = {"BPE": (bpe_source.convert, ReferenceBpe), "Unigram": (unigram_source.convert, ReferenceUnigram)}
_BERT_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclasses.dataclass
class SourceTokenizer:
    options: dict  # the manifest's `tokenizer`
    file: str  # name of the vocabulary's file in a model folder
    text: str  # and what is in it
    size: int  # ids are below it
    lowercase: bool  # cases do not matter
    reference: ReferenceTokenizer
    pair_types: list = None  # that tokenizer.json's template gives the tokens of a pair's texts; None: it says none


def _read_wordpiece(directory, fast):
    """Returns (options, token by id). The two tokenizer files must not disagree."""
    slow = read_json(directory, "tokenizer_config.json", required=False)
    normalizer = fast.get("normalizer") or {}
    model = fast.get("model") or {}
    if fast:
        if normalizer.get("type") != "BertNormalizer":
            raise SourceError(
                f"{directory}/tokenizer.json: {normalizer.get('type')} with {model.get('type')};"
                " supported: BertNormalizer with WordPiece"
            )
        if (fast.get("pre_tokenizer") or {}).get("type") != "BertPreTokenizer":
            raise SourceError(f"{directory}/tokenizer.json: the pre-tokenizer must be BertPreTokenizer")
        require(model, "continuing_subword_prefix", ("##",), "tokenizer.json")
    options = {"type": "wordpiece"}
    for name, slow_name, default in (
        ("lowercase", "do_lower_case", True),
        ("strip_accents", "strip_accents", None),
        ("handle_chinese_chars", "tokenize_chinese_chars", True),
        ("clean_text", "clean_text", True),
    ):
        values = [where[key] for where, key in ((normalizer, name), (slow, slow_name)) if key in where]
        if len(values) == 2 and values[0] != values[1]:
            raise SourceError(
                f"{directory}: tokenizer.json says {name} {values[0]}, tokenizer_config.json {values[1]};"
                " make them agree"
            )
        options[name] = values[0] if values else default
    if options["strip_accents"] is None:  # Hugging Face: as lowercase
        options["strip_accents"] = options["lowercase"]
    options["max_word_chars"] = model.get("max_input_chars_per_word", 100)
    if model.get("unk_token", "[UNK]") != "[UNK]":
        options["unk"] = model["unk_token"]
    return options, _read_vocabulary(directory, model.get("vocab"), options.get("unk", "[UNK]"))


def _read_vocabulary(directory, fast_vocabulary, unk):
    path = os.path.join(directory, "vocab.txt")
    vocabulary = None
    if os.path.exists(path):
        with open(path, encoding="utf-8", newline="\n") as file:
            vocabulary = [line.rstrip("\r\n") for line in file]
    if fast_vocabulary is not None:
        by_id = [token for token, _ in sorted(fast_vocabulary.items(), key=lambda item: item[1])]
        if sorted(fast_vocabulary.values()) != list(range(len(by_id))):
            raise SourceError(f"{directory}/tokenizer.json: the vocabulary's ids have gaps")
        if vocabulary is not None and vocabulary != by_id:
            raise SourceError(f"{directory}: vocab.txt and tokenizer.json hold different vocabularies")
        vocabulary = by_id
    if vocabulary is None:
        raise SourceError(f"{directory}: neither vocab.txt nor tokenizer.json is there")
    if unk not in vocabulary:
        raise SourceError(f"{directory}: the vocabulary lacks {unk}")
    if len(set(vocabulary)) != len(vocabulary):
        raise SourceError(f"{directory}: a token stands twice in the vocabulary")
    return vocabulary


def _bert_special(directory, vocabulary):
    """What a directory without tokenizer.json has."""
    missing = [token for token in _BERT_TOKENS if token not in vocabulary]
    if missing:
        raise SourceError(f"{directory}: the vocabulary lacks {', '.join(missing)}")
    added = [{"content": token, "id": vocabulary.index(token), "lstrip": False, "rstrip": False}
             for token in _BERT_TOKENS]
    return {"begin": added[2]["id"], "end": added[3]["id"], "pad": added[0]["id"], "two_between": False,
            "added_tokens": added}


def _template(path, pieces, ids):
    """One of TemplateProcessing's lists, as ids and "A" and "B"."""
    out = []
    for piece in pieces:
        if "Sequence" in piece:
            out.append(piece["Sequence"]["id"])
        else:
            name = piece["SpecialToken"]["id"]
            if len(ids.get(name, {}).get("ids", [])) != 1:
                raise SourceError(f"{path}: the post-processor's {name} is not one token")
            out.append(ids[name]["ids"][0])
    return out


def _wrapping(path, processor):
    """(begin, end, two_between) of a post_processor."""
    kind = (processor or {}).get("type")
    if kind == "Sequence":
        others = [p for p in processor["processors"] if p.get("type") != "ByteLevel"]  # which only moves offsets
        if len(others) == 1:
            return _wrapping(path, others[0])
    elif kind in ("RobertaProcessing", "BertProcessing"):
        return processor["cls"][1], processor["sep"][1], kind == "RobertaProcessing"
    elif kind == "TemplateProcessing":
        single = _template(path, processor["single"], processor["special_tokens"])
        pair = _template(path, processor["pair"], processor["special_tokens"])
        if len(single) == 3 and single[1] == "A":
            begin, _, end = single
            for two_between in (False, True):
                if pair == [begin, "A", *[end] * (1 + two_between), "B", end]:
                    return begin, end, two_between
            if pair == ["A", "B"] or pair[:3] != single:  # a model that takes no pairs
                return begin, end, False
    raise SourceError(
        f"{path}: the post-processor is {kind}; supported: one token before a text and one after, by"
        " TemplateProcessing, BertProcessing or RobertaProcessing"
    )


def _read_special(directory, fast, config):
    path = f"{directory}/tokenizer.json"
    added = []
    for token in fast.get("added_tokens") or []:
        if token.get("single_word"):
            raise SourceError(f"{path}: the added token {token['content']!r} is a single_word; that is not supported")
        added.append({"content": token["content"], "id": token["id"], "lstrip": bool(token.get("lstrip")),
                      "rstrip": bool(token.get("rstrip"))})
    begin, end, two_between = _wrapping(path, fast.get("post_processor"))
    pad = (fast.get("padding") or {}).get("pad_id")
    if pad is None:
        pad = next((token["id"] for token in added if token["content"] in ("[PAD]", "<pad>")),
                   config.get("pad_token_id") or 0)
    return {"begin": begin, "end": end, "pad": pad, "two_between": two_between, "added_tokens": added}


def read_tokenizer(directory, config):
    """Returns the SourceTokenizer of `directory`; config: its config.json. Raises SourceError."""
    fast = read_json(directory, "tokenizer.json", required=False)
    kind = (fast.get("model") or {}).get("type", "WordPiece")
    if not fast and not os.path.exists(os.path.join(directory, "vocab.txt")):
        raise SourceError(
            f"{directory}: neither vocab.txt nor tokenizer.json is there; save the model's tokenizer again with"
            " Hugging Face's fast tokenizers, which write tokenizer.json"
        )
    if kind == "WordPiece":
        options, vocabulary = _read_wordpiece(directory, fast)
        size, file, text = len(vocabulary), "vocab.txt", "".join(token + "\n" for token in vocabulary)
        subwords, lowercase = ReferenceWordPiece(options, vocabulary), options["lowercase"]
    elif kind in _OTHERS:
        convert, reference = _OTHERS[kind]
        options, vocabulary = convert(fast)
        size, file = len(next(iter(vocabulary.values()))), "vocabulary.json"
        text = json.dumps(vocabulary, ensure_ascii=False) + "\n"
        subwords, lowercase = reference(options, vocabulary), False
    else:
        raise SourceError(
            f"{directory}/tokenizer.json: the model is {kind}; supported: WordPiece, {', '.join(_OTHERS)}")
    if kind == "WordPiece" and not fast.get("post_processor"):
        special = _bert_special(directory, vocabulary)
    else:
        special = _read_special(directory, fast, config)
    # A manifest says nothing of what is as in every BERT.
    if kind != "WordPiece" or "unk" in options or special != _bert_special_or_none(vocabulary):
        options |= special
    size = max([size] + [token["id"] + 1 for token in special["added_tokens"]])
    return SourceTokenizer(options, file, text, size, lowercase, ReferenceTokenizer(subwords, special),
                           _pair_types(fast.get("post_processor") or {}))


def _pair_types(processor):
    if processor.get("type") == "Sequence":
        return next((t for t in map(_pair_types, processor["processors"]) if t is not None), None)
    if processor.get("type") != "TemplateProcessing":
        return None
    return [piece["Sequence"].get("type_id", 0) for piece in processor["pair"] if "Sequence" in piece]


def _bert_special_or_none(vocabulary):
    return _bert_special("", vocabulary) if all(token in vocabulary for token in _BERT_TOKENS) else None
