"""Reads weights: the safetensors format, and PyTorch's own files without running code from them."""

import json
import struct

import numpy as np
import torch

_DTYPES = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "I64": np.int64, "I32": np.int32}
_MAX_HEADER_BYTES = 100 << 20  # the format's own limit


class WeightsError(Exception):
    """The file is not what its format says."""


def read_safetensors(path):
    """Returns {name: torch.Tensor}. Layout: u64 little-endian header length, JSON header, raw data."""
    with open(path, "rb") as file:
        data = file.read()
    if len(data) < 8:
        raise WeightsError(f"{path}: {len(data)} bytes, too short for safetensors")
    (header_bytes,) = struct.unpack_from("<Q", data)
    if header_bytes > min(_MAX_HEADER_BYTES, len(data) - 8):
        raise WeightsError(f"{path}: header of {header_bytes} bytes in a file of {len(data)}")
    try:
        header = json.loads(data[8 : 8 + header_bytes])
    except ValueError as error:
        raise WeightsError(f"{path}: header is not JSON: {error}") from error
    body = memoryview(data)[8 + header_bytes :]
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= len(body):
            raise WeightsError(f"{path}: {name} lies at [{begin}, {end}) of {len(body)} data bytes")
        raw = body[begin:end]
        if entry["dtype"] == "BF16":  # the upper half of a float32
            array = (np.frombuffer(raw, dtype="<u2").astype(np.uint32) << 16).view(np.float32)
        elif entry["dtype"] in _DTYPES:
            array = np.frombuffer(raw, dtype=_DTYPES[entry["dtype"]]).copy()
        else:
            raise WeightsError(f"{path}: {name} has dtype {entry['dtype']}, which is not supported")
        if array.size != int(np.prod(entry["shape"], dtype=np.int64)):
            raise WeightsError(f"{path}: {name} has {array.size} values for shape {entry['shape']}")
        tensors[name] = torch.from_numpy(array.reshape(entry["shape"]))
    return tensors


def read_weights(path):
    """Returns {name: float32 or integer torch.Tensor} of a .safetensors or a PyTorch .bin file."""
    if path.endswith(".safetensors"):
        tensors = read_safetensors(path)
    else:
        try:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises many kinds
            raise WeightsError(f"{path}: not a file of plain tensors: {error}") from error
    return {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
