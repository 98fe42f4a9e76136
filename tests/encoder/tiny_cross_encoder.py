"""Small random cross-encoders of every architecture, as sentence-transformers' CrossEncoder saves them."""

import json
import os

import torch
from tiny_source import CONFIG, VOCABULARY, random_weights, write_safetensors

_RENAMED = {"[PAD]": "<pad>", "[CLS]": "<s>", "[SEP]": "</s>", "[MASK]": "<mask>"}
_CLASSES = {"bert": "Bert", "roberta": "Roberta", "xlm-roberta": "XLMRoberta", "mpnet": "MPNet"}


def _mpnet_names(name):
    for theirs, ours in (("attention.self.query", "attention.attn.q"), ("attention.self.key", "attention.attn.k"),
                         ("attention.self.value", "attention.attn.v"), ("attention.output.dense", "attention.attn.o"),
                         ("attention.output.LayerNorm", "attention.LayerNorm")):
        name = name.replace(theirs, ours)
    return name


class CrossEncoder:
    """`weights` under Hugging Face's names, `config` its config.json, `tokenizer` its tokenizer.json. positions: of the
    config, of which the window is made."""

    def __init__(self, model_type="bert", positions=None, **config):
        generator = torch.Generator().manual_seed(11)
        width = CONFIG["hidden_size"]
        bert = model_type == "bert"
        self.config = CONFIG | {
            "model_type": model_type, "architectures": [f"{_CLASSES[model_type]}ForSequenceClassification"],
            "id2label": {"0": "LABEL_0"}, "layer_norm_eps": 1e-12 if bert else 1e-5,
        }
        if not bert:
            self.config |= {"pad_token_id": 1, "type_vocab_size": 1}
        positions = positions or CONFIG["max_position_embeddings"]
        self.config |= {"max_position_embeddings": positions} | config
        body = random_weights()
        body["embeddings.position_embeddings.weight"] = torch.randn(positions, width, generator=generator) * 0.3
        body["embeddings.position_ids"] = torch.arange(positions).unsqueeze(0)
        dense, out = ("pooler.dense", "classifier") if bert else ("classifier.dense", "classifier.out_proj")
        del body["pooler.dense.weight"]
        if model_type == "mpnet":
            body = {_mpnet_names(name): tensor for name, tensor in body.items() if "token_type" not in name}
            body["encoder.relative_attention_bias.weight"] = torch.randn(32, 3, generator=generator)
        elif not bert:
            body["embeddings.token_type_embeddings.weight"] = body["embeddings.token_type_embeddings.weight"][:1].clone()
        head = {f"{dense}.weight": (width, width), f"{dense}.bias": (width,), f"{out}.weight": (1, width), f"{out}.bias": (1,)}
        head = {name: torch.randn(*shape, generator=generator) * 0.5 for name, shape in head.items()}
        prefix = {"bert": "bert.", "mpnet": "mpnet."}.get(model_type, "roberta.")
        self.weights = {prefix + name: tensor for name, tensor in body.items()}
        self.weights |= {(prefix if name.startswith("pooler") else "") + name: tensor for name, tensor in head.items()}

        vocabulary = VOCABULARY if bert else [_RENAMED.get(token, token) for token in VOCABULARY]
        special = {name: vocabulary.index(name) for name in (VOCABULARY[0], *VOCABULARY[2:5])} if bert else {
            name: vocabulary.index(name) for name in _RENAMED.values()}
        if bert:
            begin, end = "[CLS]", "[SEP]"

            def piece(name, kind):
                return {"Sequence": {"id": name, "type_id": kind}} if len(name) == 1 else {
                    "SpecialToken": {"id": name, "type_id": kind}}
            processor = {
                "type": "TemplateProcessing", "single": [piece(begin, 0), piece("A", 0), piece(end, 0)],
                "pair": [piece(begin, 0), piece("A", 0), piece(end, 0), piece("B", 1), piece(end, 1)],
                "special_tokens": {name: {"id": name, "ids": [special[name]], "tokens": [name]} for name in (begin, end)},
            }
        else:
            processor = {"type": "RobertaProcessing", "sep": ["</s>", special["</s>"]], "cls": ["<s>", special["<s>"]],
                         "trim_offsets": True, "add_prefix_space": False}
        self.tokenizer = {
            "version": "1.0", "truncation": None, "padding": None, "decoder": None,
            "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True,
                           "strip_accents": None, "lowercase": True},
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": processor,
            "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                      "max_input_chars_per_word": 60, "vocab": {t: i for i, t in enumerate(vocabulary)}},
            "added_tokens": [{"id": i, "content": name, "single_word": False, "lstrip": False, "rstrip": False,
                              "normalized": False, "special": True} for name, i in sorted(special.items(), key=lambda x: x[1])],
        }

    def write(self, folder):
        os.makedirs(folder, exist_ok=True)
        write_safetensors(os.path.join(folder, "model.safetensors"), self.weights)
        for name, value in (("config.json", self.config), ("tokenizer.json", self.tokenizer),
                            ("tokenizer_config.json", {"model_max_length": 512})):
            with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
                json.dump(value, file)
