"""Stubs for Python, generated from the .proto files with stock grpcio-tools."""

import importlib
import pathlib
import sys
import tempfile

import client_support

try:
    import grpc  # noqa: F401
    from grpc_tools import protoc
except ImportError as error:
    client_support.skip(f"{error}; set VECINO_TEST_PYTHON to a Python with tests/requirements.txt")

_folder = tempfile.TemporaryDirectory(prefix="vecino-stubs-")


def generate(folder=None):
    """Writes stubs of every .proto into `folder`, by default a temporary one, and makes them importable."""
    proto = client_support.SOURCE / "proto"
    files = sorted(str(path.relative_to(proto)) for path in proto.rglob("*.proto"))
    well_known = str(pathlib.Path(protoc.__file__).parent / "_proto")
    out = str(folder or _folder.name)
    code = protoc.main(
        ["protoc", f"-I{proto}", f"-I{well_known}", f"--python_out={out}", f"--grpc_python_out={out}", *files]
    )
    if code != 0:
        raise RuntimeError(f"protoc ended with {code}")
    if out not in sys.path:
        sys.path.insert(0, out)


def load(name):
    """The module of one file, such as `document_service_pb2_grpc`."""
    return importlib.import_module(f"vecino.v1.{name}")
