"""Reads a sentence-transformers directory, of an embedding model or of a cross-encoder, and refuses what the exporter
cannot reproduce exactly."""

import dataclasses
import os

from source_error import SourceError, read_json, require
from tokenizer_source import SourceTokenizer, read_tokenizer

# What vecinod reads of prompts.
MOST_PROMPTS = 64
MOST_PROMPT_NAME_BYTES = 64
MOST_PROMPT_BYTES = 4096
ARCHITECTURES = ("bert", "roberta", "xlm-roberta", "mpnet")


@dataclasses.dataclass
class SourceModel:
    """What a sentence-transformers directory of BERT or a relative says about itself."""

    config: dict  # config.json
    position_pad_id: int  # positions are counted from it + 1, and tokens that are it are not; -1: from 0
    positions: int  # tokens that have one
    weights_path: str
    max_tokens: int
    pooling: str  # "mean" or "cls"
    normalize: bool
    prompts: dict  # by name: "query", "document" and the source's others
    tokenizer: SourceTokenizer
    matryoshka: list = dataclasses.field(default_factory=list)  # fewer dimensions to be cut to; told by the caller
    task: str = "embed"  # or "rerank": pooling, normalize and prompts are then without meaning
    activation: str = ""  # of a reranker's logit: "sigmoid" or "identity"
    token_types: int = 1  # of a reranker: 2 where the second text of a pair has a type of its own


def _read_architecture(directory):
    """Returns (config, position_pad_id, positions)."""
    config = read_json(directory, "config.json")
    if config.get("model_type") not in ARCHITECTURES:
        raise SourceError(
            f"{directory}/config.json: model_type is {config.get('model_type')!r}; supported:"
            f" {', '.join(ARCHITECTURES)}"
        )
    require(config, "hidden_act", ("gelu",), "config.json")
    require(config, "position_embedding_type", ("absolute",), "config.json")
    require(config, "is_decoder", (False,), "config.json")
    for key in ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                "max_position_embeddings", "vocab_size"):
        if not isinstance(config.get(key), int) or config[key] < 1:
            raise SourceError(f"config.json: {key} is {config.get(key)!r}; it must be a positive integer")
    if config["hidden_size"] % config["num_attention_heads"]:
        raise SourceError("config.json: hidden_size is not a multiple of num_attention_heads")
    if config["model_type"] == "bert":
        return config, -1, config["max_position_embeddings"]
    if config["model_type"] == "mpnet":  # Hugging Face's code has no other
        require(config, "relative_attention_num_buckets", (32,), "config.json")
    pad = config.setdefault("pad_token_id", 1)
    if not isinstance(pad, int) or not 0 <= pad < config["max_position_embeddings"] - 1:
        raise SourceError(f"config.json: pad_token_id is {pad!r}; positions are counted from it")
    return config, pad, config["max_position_embeddings"] - pad - 1


def _read_modules(directory):
    """Returns (pooling directory, normalize)."""
    modules = read_json(directory, "modules.json")
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
    config = read_json(directory, os.path.join(pooling_path, "config.json"))
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
    config = read_json(directory, "config_sentence_transformers.json", required=False)
    prompts = config.get("prompts") or {}
    if not isinstance(prompts, dict):
        raise SourceError(f"{directory}/config_sentence_transformers.json: prompts is no object of names and texts")
    default = prompts.get(config.get("default_prompt_name"), "")
    query = prompts.get("query", default)
    document = prompts.get("document", prompts.get("passage", default))
    prompts = {"query": query, "document": document, **prompts}
    check_prompts(prompts, f"{directory}/config_sentence_transformers.json")
    return prompts


def check_prompts(prompts, where):
    """Raises SourceError for prompts that vecinod does not read; says `where` they are from."""
    if len(prompts) > MOST_PROMPTS:
        raise SourceError(f"{where}: {len(prompts)} prompts, 'query' and 'document' included; at most {MOST_PROMPTS}")
    for name, text in prompts.items():
        if not isinstance(text, str):
            raise SourceError(f"{where}: prompt {name[:80]!r} is {str(text)[:80]!r}; it must be a string")
        try:
            name_bytes, text_bytes = len(name.encode()), len(text.encode())
        except UnicodeEncodeError as error:
            raise SourceError(f"{where}: prompt {name[:80]!r} is not Unicode: {error}") from error
        if not 1 <= name_bytes <= MOST_PROMPT_NAME_BYTES:
            raise SourceError(f"{where}: prompt name {name[:80]!r} has {name_bytes} bytes; it must have 1 to"
                              f" {MOST_PROMPT_NAME_BYTES}")
        if text_bytes > MOST_PROMPT_BYTES:
            raise SourceError(f"{where}: prompt {name!r} has {text_bytes} bytes; at most {MOST_PROMPT_BYTES}")


def _read_max_tokens(directory, positions):
    config = read_json(directory, "sentence_bert_config.json", required=False)
    limit = config.get("max_seq_length")
    if limit is None:  # as sentence-transformers does
        limit = read_json(directory, "tokenizer_config.json", required=False).get("model_max_length", positions)
        limit = int(min(limit, positions))
    if not isinstance(limit, int) or not 3 <= limit <= positions:
        raise SourceError(
            f"sentence_bert_config.json: max_seq_length is {limit!r}; the model has {positions} positions"
        )
    return limit, bool(config.get("do_lower_case", False))


def _is_cross_encoder(directory):
    """sentence-transformers' CrossEncoder saves what Hugging Face's ...ForSequenceClassification does, and no modules."""
    if os.path.exists(os.path.join(directory, "modules.json")):
        return False
    names = read_json(directory, "config.json").get("architectures") or []
    return any(str(name).endswith("ForSequenceClassification") for name in names)


def _read_head(directory, config, prompts):
    """Returns what makes a score of a cross-encoder's logit, as sentence-transformers' CrossEncoder does."""
    labels = len(config["id2label"]) if "id2label" in config else config.get("num_labels", 2)
    if labels != 1:
        raise SourceError(
            f"{directory}/config.json: the model has {labels} labels; a reranker has one, whose logit is the relevance"
        )
    if prompts["query"] or prompts["document"]:
        raise SourceError(f"{directory}: prompts of a cross-encoder are not supported")
    name = (config.get("sentence_transformers") or {}).get("activation_fn",
                                                           config.get("sbert_ce_default_activation_function"))
    kind = "sigmoid" if name is None else str(name).rsplit(".", 1)[-1].lower()
    if kind not in ("sigmoid", "identity"):
        raise SourceError(f"{directory}/config.json: the activation is {name}; supported: Sigmoid, Identity")
    return kind


def _token_types(directory, config, tokenizer):
    """How many types the tokens of a pair have."""
    names = read_json(directory, "tokenizer_config.json", required=False).get("model_input_names", ["token_type_ids"])
    if config["model_type"] != "bert" or config.get("type_vocab_size", 2) < 2 or "token_type_ids" not in names:
        return 1
    if tokenizer.pair_types not in (None, [0, 1]):
        raise SourceError(
            f"{directory}/tokenizer.json: the texts of a pair have types {tokenizer.pair_types}; supported: [0, 1]"
        )
    return 2


def read_source(directory):
    """Returns the SourceModel of `directory`; raises SourceError."""
    if not os.path.isdir(directory):
        raise SourceError(f"{directory}: no such directory")
    reranks = _is_cross_encoder(directory)
    pooling_path, normalize = (None, False) if reranks else _read_modules(directory)
    config, position_pad_id, positions = _read_architecture(directory)
    prompts = _read_prompts(directory)
    activation = _read_head(directory, config, prompts) if reranks else ""
    pooling = "cls" if reranks else _read_pooling(directory, pooling_path, prompts, config["hidden_size"])
    tokenizer = read_tokenizer(directory, config)
    max_tokens, lowers = _read_max_tokens(directory, positions)
    if reranks and max_tokens < 6:  # two texts and four special tokens
        raise SourceError(f"{directory}: a window of {max_tokens} tokens holds no pair of texts")
    if lowers and not tokenizer.lowercase:
        raise SourceError("sentence_bert_config.json: do_lower_case with a cased tokenizer is not supported")
    if tokenizer.size > config["vocab_size"]:
        raise SourceError(
            f"the vocabulary has {tokenizer.size} tokens, config.json's vocab_size is {config['vocab_size']}"
        )
    for name in ("model.safetensors", "pytorch_model.bin"):
        weights_path = os.path.join(directory, name)
        if os.path.exists(weights_path):
            break
    else:
        raise SourceError(f"{directory}: neither model.safetensors nor pytorch_model.bin is there")
    return SourceModel(config, position_pad_id, positions, weights_path, max_tokens, pooling, normalize, prompts,
                       tokenizer, task="rerank" if reranks else "embed", activation=activation,
                       token_types=_token_types(directory, config, tokenizer) if reranks else 1)
