#!/usr/bin/env python3
"""Runs the scenario of SCENARIO.md in one language: tests/conformance/run.py python|go|node|java [--server HOST:PORT].

Starts a vecinod unless told of one, makes the stubs in a temporary folder and runs the program. Exits with 0, 1, or
with 77 and the reason when the language's tools are missing. Downloads stay under ~/.cache/vecino/languages.
"""

import argparse
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))
import client_support  # noqa: E402
from client_support import skip  # noqa: E402

PROTO = client_support.SOURCE / "proto"
CACHE = pathlib.Path(
    os.environ.get("VECINO_CACHE")
    or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "vecino"
)
LANGUAGES = CACHE / "languages"
NO_NETWORK = re.compile(
    r"dial tcp|no such host|i/o timeout|connection refused|network is unreachable|EAI_AGAIN|ENOTFOUND|ECONNREFUSED|"
    r"ETIMEDOUT|ECONNRESET|Temporary failure|Unknown host|UnknownHostException|Connection timed out|"
    r"Connect to \S+ failed|Could not transfer|unable to resolve host|Cannot access \S+ \(\S+\) in offline mode",
    re.IGNORECASE,
)
# What makes the stubs of Go. The libraries' versions stand in go/go.mod.
GO_TOOLS = {
    "protoc-gen-go": "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12",
    "protoc-gen-go-grpc": "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2",
}


def need(program, version_arguments=None, at_least=None):
    """Skips when the program is missing or older than the tuple `at_least`; returns its path."""
    path = shutil.which(program)
    if path is None:
        skip(f"no `{program}` on this machine")
    if at_least:
        output = subprocess.run([path, *version_arguments], capture_output=True, text=True, check=False)
        found = re.search(r"(\d+)(?:\.(\d+))?", output.stdout + output.stderr)
        version = tuple(int(part or 0) for part in found.groups()) if found else (0, 0)
        if version < at_least:
            wanted = ".".join(map(str, at_least))
            skip(f"`{program}` is of version {version[0]}.{version[1]}, {wanted} is needed")
    return path


def run(command, folder, environment=None, downloads=False):
    """Runs one step; when it fails ends with its output, or skips where it needed a registry that is out of reach."""
    result = subprocess.run(
        [str(part) for part in command], cwd=folder, env=dict(os.environ, **(environment or {})),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", errors="replace",
        check=False,
    )  # fmt: skip
    if result.returncode == 0:
        return result.stdout
    if downloads and NO_NETWORK.search(result.stdout):
        skip(f"`{command[0]}` misses packages and cannot reach their registry:\n{result.stdout[-1500:]}")
    sys.exit(f"`{' '.join(map(str, command))}` ended with {result.returncode}:\n{result.stdout[-6000:]}")


def cached(folder, make):
    """`folder`, which make(temporary) fills once; whole or not there, also when two do so at once."""
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = pathlib.Path(tempfile.mkdtemp(prefix=folder.name + ".", dir=folder.parent))
        try:
            make(temporary)
            try:
                temporary.rename(folder)
            except OSError:  # another was faster
                assert folder.exists()
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def digest(*texts):
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:12]


def python(work):
    import grpc_stubs  # without grpcio it skips

    grpc_stubs.generate(work)
    return [sys.executable, HERE / "python" / "scenario.py"], {"PYTHONPATH": str(work)}


def go(work):
    version = re.search(r"^go (\d+)\.(\d+)", (HERE / "go" / "go.mod").read_text(encoding="utf-8"), re.MULTILINE)
    need("go", ["version"], (int(version[1]), int(version[2])))
    protoc = need("protoc")
    environment = {"GOMODCACHE": str(LANGUAGES / "go-mod"), "GOCACHE": str(LANGUAGES / "go-build"),
                   "GOFLAGS": "-modcacherw", "GOTOOLCHAIN": "local"}  # fmt: skip

    def install(folder):
        for tool in GO_TOOLS.values():
            run(["go", "install", tool], folder, {**environment, "GOBIN": str(folder)}, downloads=True)

    tools = cached(LANGUAGES / f"go-tools-{digest(*GO_TOOLS.values())}", install)
    shutil.copytree(HERE / "go", work, dirs_exist_ok=True)
    files = sorted(str(path.relative_to(PROTO)) for path in PROTO.glob("vecino/v1/*.proto"))
    # The .proto files name their Go packages: ours in the module that go/go.mod stands for, google/* in Google's.
    module = "module=github.com/vecino/vecino/gen/go"
    run([protoc, f"-I{PROTO}", f"--plugin={tools}/protoc-gen-go", f"--plugin={tools}/protoc-gen-go-grpc",
         f"--go_out={work}", f"--go-grpc_out={work}", f"--go_opt={module}", f"--go-grpc_opt={module}", *files],
        work)  # fmt: skip
    run(["go", "build", "-mod=readonly", "-o", "scenario", "."], work, environment, downloads=True)
    return [work / "scenario"], {}


def node(work):
    need("node", ["--version"], (18, 0))
    need("npm")
    lock = (HERE / "node" / "package-lock.json").read_text(encoding="utf-8")

    def install(folder):
        for file in ("package.json", "package-lock.json"):
            shutil.copy(HERE / "node" / file, folder)
        run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder, downloads=True)

    packages = cached(LANGUAGES / f"node-{digest(lock)}", install)
    shutil.copy(HERE / "node" / "scenario.js", work)
    (work / "node_modules").symlink_to(packages / "node_modules")
    return ["node", work / "scenario.js"], {"arguments": [str(PROTO)]}


def java(work):
    need("javac", ["-version"], (17, 0))
    need("mvn")
    shutil.copytree(HERE / "java", work, dirs_exist_ok=True)
    shutil.copytree(PROTO / "vecino", work / "src" / "main" / "proto" / "vecino")
    maven = ["mvn", "-B", "-q", f"-Dmaven.repo.local={LANGUAGES / 'm2'}"]
    goals = ["compile", "dependency:copy-dependencies", "-DincludeScope=runtime"]
    # From the cache alone if it has all, so that no registry is asked each time.
    offline = subprocess.run([*maven, "-o", *goals], cwd=work, capture_output=True, check=False)
    if offline.returncode != 0:
        run([*maven, *goals], work, downloads=True)
    return ["java", "-cp", f"{work / 'target' / 'classes'}:{work / 'target' / 'dependency'}/*", "Scenario"], {}


def scenario(command, extra, address):
    arguments = extra.pop("arguments", [])
    # gRPC libraries would send calls to loopback through a proxy, too.
    here = {name: ",".join(filter(None, [os.environ.get(name), "127.0.0.1,localhost"])) for name in ("no_proxy", "NO_PROXY")}
    result = subprocess.run(
        [*map(str, command), address, *arguments], env=dict(os.environ, **here, **extra), stdin=subprocess.DEVNULL,
        timeout=240, check=False,
    )  # fmt: skip
    return result.returncode


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("language", choices=["python", "go", "node", "java"])
    parser.add_argument("--server", help="HOST:PORT of a running vecinod; default: one is started")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix=f"vecino-{options.language}-") as folder:
        command, extra = globals()[options.language](pathlib.Path(folder))
        if options.server:
            return scenario(command, extra, options.server)
        with client_support.Workspace() as workspace:
            return scenario(command, extra, workspace.server.address)


if __name__ == "__main__":
    sys.exit(main())
