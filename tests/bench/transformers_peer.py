#!/usr/bin/python3
"""Exports small random models made by Hugging Face `transformers` and compares what Vecino makes of texts with it.

    transformers_peer.py --tool BUILD/tests/encoder/embed_lines [MODEL...]

RoBERTa with byte-level BPE, XLM-R and BERT with Unigram, MPNet and BERT with WordPiece: weights at random, tokenizers
trained on the texts, saved as sentence-transformers directories, exported with encoder/export, embedded by both
executors. Prints for each the texts whose ids differ and the largest difference of one float to transformers' own
model with mean pooling. Then each as a cross-encoder (`...ForSequenceClassification`): the golden pairs whose ids or token
types differ, and the largest difference of a score of 200 pairs. Exit status: 0 none differs in ids, nor in one float by
more than 2e-5.

Needs Debian's python3-torch, and in an environment that sees it (`/usr/bin/python3 -m venv --system-site-packages`)
transformers==4.30.2, sentencepiece and protobuf==3.20.3. By hand: these are too heavy for the tests, whose references are
encoder/export/eager_bert.py and the current `tokenizers`.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from tokenizers import ByteLevelBPETokenizer, BertWordPieceTokenizer
import transformers

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "encoder" / "export"))

import export as exporter  # noqa: E402

SIZES = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 96}


def texts():
    """Some thousand lines of text, most of them English."""
    lines = []
    for part in ("noun", "verb"):
        with open(f"/usr/share/wordnet/data.{part}", encoding="utf-8") as file:
            lines += [line.partition("| ")[2].strip() for line in file if not line.startswith("  ")][:3000]
    return lines + ["na\u00efve caf\u00e9 \u4e2d\u6587 \u041c\u043e\u0441\u043a\u0432\u0430 \ufb01ne \u00bd \U0001f600", "", "a  b   c ",
                    " leading", "x <mask> y", "<pad> a <pad>", "12345 3.14 don't WE'LL", "word " * 600]


def bpe(lines, folder):
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(lines, 3000, special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    trained.save_model(str(folder))
    return transformers.RobertaTokenizerFast(str(folder / "vocab.json"), str(folder / "merges.txt"))


def wordpiece(lines, folder, kind):
    trained = BertWordPieceTokenizer()
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if kind is transformers.MPNetTokenizerFast:
        names = ["<s>", "<pad>", "</s>", "<unk>", "[UNK]", "<mask>"]
    trained.train_from_iterator(lines, 3000, special_tokens=names)
    trained.save_model(str(folder))
    return kind(str(folder / "vocab.txt"))


def unigram(lines, folder):
    import sentencepiece

    source = folder / "lines.txt"
    source.write_text("\n".join(lines), encoding="utf-8")
    sentencepiece.SentencePieceTrainer.train(
        input=str(source), model_prefix=str(folder / "spm"), vocab_size=3000, normalization_rule_name="nmt_nfkc",
        minloglevel=2)
    source.unlink()
    return transformers.XLMRobertaTokenizerFast(str(folder / "spm.model"))


def write_directory(folder, model, tokenizer, window):
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "1_Pooling").mkdir()
    for name, value in (
        ("modules.json", [{"idx": 0, "path": "", "type": "sentence_transformers.models.Transformer"},
                          {"idx": 1, "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]),
        ("1_Pooling/config.json", {"word_embedding_dimension": 48, "pooling_mode_mean_tokens": True}),
        ("sentence_bert_config.json", {"max_seq_length": window, "do_lower_case": False}),
    ):
        (folder / name).write_text(json.dumps(value), encoding="utf-8")


@torch.no_grad()
def theirs(model, tokenizer, lines, window):
    """(ids, vectors) one text at a time"""
    ids, vectors = [], []
    for line in lines:
        inputs = tokenizer(line, truncation=True, max_length=window, return_tensors="pt")
        ids.append(inputs["input_ids"][0].tolist())
        vectors.append(model(**inputs).last_hidden_state[0].mean(dim=0).numpy())
    return ids, np.stack(vectors)


@torch.no_grad()
def rerank(name, tokenizer, model, tool, lines, temp):
    """Whether the cross-encoder `model` is the same here and there."""
    folder, models = pathlib.Path(temp, "pairs"), pathlib.Path(temp, "rerankers")
    tokenizer.model_max_length = 64
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    exporter.export(str(folder), str(models / name))
    golden = json.loads((models / name / "golden.json").read_text(encoding="utf-8"))["pairs"]
    types = json.loads((models / name / "manifest.json").read_text(encoding="utf-8"))["token_types"]

    def encode(query, text):
        # Lists, as CrossEncoder does: a lone empty second text would be none.
        return tokenizer([query], [text], truncation="longest_first", max_length=64, return_tensors="pt")

    differ = []
    for pair in golden:
        inputs = encode(pair["query"], pair["text"])
        kinds = inputs["token_type_ids"][0].tolist() if types == 2 else [0] * len(pair["ids"])
        if inputs["input_ids"][0].tolist() != pair["ids"] or kinds != pair["types"]:
            differ.append(pair)
    good = not differ
    pairs = [(lines[7 * i], lines[i % 50 + 3 * i]) for i in range(200)]
    wanted = np.array([torch.sigmoid(model(**encode(*pair)).logits).item() for pair in pairs])
    for executor in ("fused", "torchscript"):
        out = os.path.join(temp, "scores")
        run = subprocess.run([tool, "--executor", executor, str(models), name, out],
                             input="".join(f"{query}\t{text}\n" for query, text in pairs).encode(), capture_output=True)
        if run.returncode:
            sys.exit(f"{name}: {run.stderr.decode()}")
        largest = float(np.abs(np.fromfile(out, np.float32) - wanted).max())
        print(f"{name}, {executor}, reranking: {len(golden)} golden pairs, {len(differ)} differ in ids or types; largest"
              f" difference of a score of {len(pairs)} {largest:.1e}, scores {wanted.min():.3f} to {wanted.max():.3f}", flush=True)
        good &= largest <= 2e-5
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", required=True)
    parser.add_argument("models", nargs="*", help="which of them; default all")
    options = parser.parse_args()
    tool = options.tool
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    torch.manual_seed(5)
    t, lines, good = transformers, texts(), True
    for name, make, config, model, reranker, offset in (
        ("bert-wordpiece", lambda f: wordpiece(lines, f, t.BertTokenizerFast), t.BertConfig, t.BertModel, t.BertForSequenceClassification, 0),
        ("mpnet-wordpiece", lambda f: wordpiece(lines, f, t.MPNetTokenizerFast), t.MPNetConfig, t.MPNetModel, t.MPNetForSequenceClassification, 2),
        ("roberta-bpe", lambda f: bpe(lines, f), t.RobertaConfig, t.RobertaModel, t.RobertaForSequenceClassification, 2),
        ("xlm-roberta-unigram", lambda f: unigram(lines, f), t.XLMRobertaConfig, t.XLMRobertaModel, t.XLMRobertaForSequenceClassification, 2),
        ("bert-unigram", lambda f: unigram(lines, f), t.BertConfig, t.BertModel, t.BertForSequenceClassification, 0),
    ):
        if options.models and name not in options.models:
            continue
        with tempfile.TemporaryDirectory() as temp:
            folder, models = pathlib.Path(temp, "source"), pathlib.Path(temp, "models")
            folder.mkdir()
            tokenizer = make(folder)
            sizes = SIZES | {"vocab_size": len(tokenizer), "max_position_embeddings": 300 + offset}
            if offset:
                sizes["pad_token_id"] = 1
            module = model(config(initializer_range=0.15, **sizes), add_pooling_layer=False).eval()
            write_directory(folder, module, tokenizer, 300)
            exporter.export(str(folder), str(models / name))
            ids, vectors = theirs(module, tokenizer, lines, 300)
            for executor in ("fused", "torchscript"):
                out, out_ids = os.path.join(temp, "vectors"), os.path.join(temp, "ids")
                run = subprocess.run([tool, "--executor", executor, str(models), name, out, out_ids],
                                     input="".join(line + "\n" for line in lines).encode(), capture_output=True)
                if run.returncode:
                    sys.exit(f"{name}: {run.stderr.decode()}")
                ours = np.fromfile(out, np.float32).reshape(len(lines), -1)
                with open(out_ids, encoding="ascii") as file:
                    our_ids = [[int(x) for x in line.split()] for line in file]
                differ = [i for i in range(len(lines)) if ours[i].size != vectors[i].size or ids[i] != our_ids[i]]
                largest = float(np.abs(ours - vectors).max())
                print(f"{name}, {executor}: {len(lines)} texts, {sum(map(len, ids))} tokens, {len(differ)} differ in ids,"
                      f" largest difference of a float {largest:.1e}", flush=True)
                for i in differ[:3]:
                    print(f"  {ascii(lines[i])[:100]}\n    theirs {ids[i][:30]}\n    ours   {our_ids[i][:30]}")
                good &= not differ and largest <= 2e-5
            if name == "bert-unigram":  # transformers' tokenizer of XLM-R gives the pairs of a BERT no types
                continue
            module = reranker(config(initializer_range=0.15, num_labels=1, **sizes)).eval()
            good &= rerank(name, tokenizer, module, tool, lines, temp)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
