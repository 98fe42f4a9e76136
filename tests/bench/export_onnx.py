#!/usr/bin/python3
"""Writes a sentence-transformers directory as ONNX, for the peer in end_to_end.py.

    export_onnx.py SOURCE OUT.onnx

Runs on Debian's python3-torch with the modules of encoder/export, so the peer computes the same function: ids int64
[B, L] and lengths int64 [B] in, vectors float32 [B, D] out.
"""

import pathlib
import sys
import warnings

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "encoder" / "export"))

import torch  # noqa: E402
from bert_module import build_module  # noqa: E402
from source_folder import read_source  # noqa: E402
from weights import read_weights  # noqa: E402

warnings.filterwarnings("ignore")
source = read_source(sys.argv[1])
module = build_module(source, read_weights(source.weights_path))
# Traced with a padded row, so that the graph always masks.
example = (torch.ones(2, 8, dtype=torch.long), torch.tensor([8, 5]))
torch.onnx.export(
    module,
    example,
    sys.argv[2],
    opset_version=14,
    input_names=["ids", "lengths"],
    output_names=["vectors"],
    dynamic_axes={"ids": {0: "batch", 1: "length"}, "lengths": {0: "batch"}, "vectors": {0: "batch"}},
)
