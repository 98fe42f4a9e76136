"""Reads a sentence-transformers directory and refuses what the exporter cannot reproduce exactly."""

import dataclasses
import json
import os

SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class SourceError(Exception):
    """The directory is missing something or asks for something that is not supported."""


@dataclasses.dataclass
class SourceModel:
    """What a sentence-transformers directory of a BERT architecture says about itself."""

    config: dict  # config.json
    weights_path: str
    vocabulary: list  # token by id
    max_tokens: int
    pooling: str  # "mean" or "cls"
    normalize: bool
    prompts: dict  # {"query": str, "document": str}
    tokenizer: dict  # the manifest's `tokenizer`


def _read_json(directory, name, required=True):
    path = os.path.join(directory, name)
    if not os.path.exists(path):
        if required:
            raise SourceError(f"{directory}: {name} is missing; a sentence-transformers directory has it")
        return {}
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except ValueError as error:
        raise SourceError(f"{path}: not JSON: {error}") from error


def _require(config, key, supported, where):
    if config.get(key, supported[0]) not in supported:
        raise SourceError(
            f"{where}: {key} is {config[key]!r}; supported: {', '.join(map(repr, supported))}"
        )


def _read_architecture(directory):
    config = _read_json(directory, "config.json")
    if config.get("model_type") != "bert":
        raise SourceError(
            f"{directory}/config.json: model_type is {config.get('model_type')!r}; only 'bert' is supported"
        )
    _require(config, "hidden_act", ("gelu",), "config.json")
    _require(config, "position_embedding_type", ("absolute",), "config.json")
    _require(config, "is_decoder", (False,), "config.json")
    for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                "max_position_embeddings", "vocab_size"):
        if not isinstance(config.get(key), int) or config[key] < 1:
            raise SourceError(f"config.json: {key} is {config.get(key)!r}; it must be a positive integer")
    if config["hidden_size"] % config["num_attention_heads"]:
        raise SourceError("config.json: hidden_size is not a multiple of num_attention_heads")
    return config


def _read_modules(directory):
    """Returns (pooling directory, normalize)."""
    modules = _read_json(directory, "modules.json")
    kinds = [str(module.get("type", "")).rsplit(".", 1)[-1] for module in modules]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise SourceError(
            f"{directory}/modules.json: modules are {kinds}; supported: Transformer, Pooling and an"
            " optional Normalize, in this order"
        )
    if modules[0].get("path"):
        raise SourceError(
            f"{directory}/modules.json: the Transformer lies in {modules[0]['path']!r}; it must lie in"
            " the directory itself"
        )
    pooling_path = modules[1].get("path", "")
    if os.path.isabs(pooling_path) or ".." in pooling_path.split("/"):
        raise SourceError(f"{directory}/modules.json: path {pooling_path!r} leaves the directory")
    return pooling_path, len(kinds) == 3


def _read_pooling(directory, pooling_path, prompts, hidden_size):
    config = _read_json(directory, os.path.join(pooling_path, "config.json"))
    modes = sorted(key[len("pooling_mode_"):] for key, on in config.items()
                   if key.startswith("pooling_mode_") and on is True)
    supported = {("mean_tokens",): "mean", ("cls_token",): "cls"}
    if tuple(modes) not in supported:
        raise SourceError(
            f"{directory}/{pooling_path}/config.json: pooling is {modes}; supported: mean_tokens or cls_token, alone"
        )
    if config.get("word_embedding_dimension", hidden_size) != hidden_size:
        raise SourceError(
            f"{pooling_path}/config.json: word_embedding_dimension is {config['word_embedding_dimension']},"
            f" config.json says hidden_size {hidden_size}"
        )
    if config.get("include_prompt", True) is False and any(prompts.values()):
        raise SourceError(f"{pooling_path}/config.json: include_prompt false is not supported with prompts")
    return supported[tuple(modes)]


def _read_prompts(directory):
    config = _read_json(directory, "config_sentence_transformers.json", required=False)
    prompts = config.get("prompts") or {}
    default = prompts.get(config.get("default_prompt_name"), "")
    query = prompts.get("query", default)
    document = prompts.get("document", prompts.get("passage", default))
    return {"query": query, "document": document}


def _read_tokenizer(directory):
    """Returns (the manifest's `tokenizer`, vocabulary). The two tokenizer files must not disagree."""
    fast = _read_json(directory, "tokenizer.json", required=False)
    slow = _read_json(directory, "tokenizer_config.json", required=False)
    normalizer = fast.get("normalizer") or {}
    if fast:
        model = fast.get("model") or {}
        if normalizer.get("type") != "BertNormalizer" or model.get("type", "WordPiece") != "WordPiece":
            raise SourceError(
                f"{directory}/tokenizer.json: {normalizer.get('type')} with {model.get('type')};"
                " supported: BertNormalizer with WordPiece"
            )
        if (fast.get("pre_tokenizer") or {}).get("type") != "BertPreTokenizer":
            raise SourceError(f"{directory}/tokenizer.json: the pre-tokenizer must be BertPreTokenizer")
        _require(model, "continuing_subword_prefix", ("##",), "tokenizer.json")
        _require(model, "unk_token", ("[UNK]",), "tokenizer.json")
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
    options["max_word_chars"] = (fast.get("model") or {}).get("max_input_chars_per_word", 100)
    return options, _read_vocabulary(directory, (fast.get("model") or {}).get("vocab"))


def _read_vocabulary(directory, fast_vocabulary):
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
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary]
    if missing:
        raise SourceError(f"{directory}: the vocabulary lacks {', '.join(missing)}")
    if len(set(vocabulary)) != len(vocabulary):
        raise SourceError(f"{directory}: a token stands twice in the vocabulary")
    return vocabulary


def _read_max_tokens(directory, positions):
    config = _read_json(directory, "sentence_bert_config.json", required=False)
    limit = config.get("max_seq_length")
    if limit is None:  # as sentence-transformers does
        limit = _read_json(directory, "tokenizer_config.json", required=False).get("model_max_length", positions)
        limit = int(min(limit, positions))
    if not isinstance(limit, int) or not 3 <= limit <= positions:
        raise SourceError(
            f"sentence_bert_config.json: max_seq_length is {limit!r}; the model has {positions} positions"
        )
    return limit, bool(config.get("do_lower_case", False))


def read_source(directory):
    """Returns the SourceModel of `directory`; raises SourceError."""
    if not os.path.isdir(directory):
        raise SourceError(f"{directory}: no such directory")
    pooling_path, normalize = _read_modules(directory)
    config = _read_architecture(directory)
    prompts = _read_prompts(directory)
    pooling = _read_pooling(directory, pooling_path, prompts, config["hidden_size"])
    tokenizer, vocabulary = _read_tokenizer(directory)
    max_tokens, lowers = _read_max_tokens(directory, config["max_position_embeddings"])
    if lowers and not tokenizer["lowercase"]:
        raise SourceError("sentence_bert_config.json: do_lower_case with a cased tokenizer is not supported")
    if len(vocabulary) > config["vocab_size"]:
        raise SourceError(
            f"the vocabulary has {len(vocabulary)} tokens, config.json's vocab_size is {config['vocab_size']}"
        )
    for name in ("model.safetensors", "pytorch_model.bin"):
        weights_path = os.path.join(directory, name)
        if os.path.exists(weights_path):
            break
    else:
        raise SourceError(f"{directory}: neither model.safetensors nor pytorch_model.bin is there")
    return SourceModel(config, weights_path, vocabulary, max_tokens, pooling, normalize, prompts, tokenizer)
