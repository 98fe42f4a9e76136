"""deploy/run, but for what it installs, builds and fetches: what it prints is right for the options it was given."""

import os
import pathlib
import re
import shutil
import socket
import subprocess
import tempfile
import unittest

from client_support import BINARIES, SOURCE

# In place of deploy/lib.sh. Like it, the build changes the folder.
LIB = """vecino_source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
vecino_cache=$vecino_source/cache model_name=none model_root=$vecino_source/models
say() { printf '\\n== %s\\n' "$*"; }
fail() { printf '\\ndeploy: %s\\n' "$*" >&2; exit 1; }
need_space() { mkdir -p "$1"; }
build() { cd "$vecino_source"; }
make_model() { mkdir -p "$model_root"; }
"""


def free_port():
    """A port that is free, as is the next one."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                other.bind(("127.0.0.1", port + 1))
                return port
            except (OSError, OverflowError):
                continue


class DeployRunTest(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        deploy = self.folder / "deploy"
        deploy.mkdir()
        shutil.copy(SOURCE / "deploy" / "run", deploy)
        (deploy / "lib.sh").write_text(LIB)
        (deploy / "install-deps").write_text("#!/bin/sh\n")
        (deploy / "install-deps").chmod(0o755)
        (self.folder / "build" / "release").mkdir(parents=True)
        (self.folder / "build" / "release" / "bin").symlink_to(BINARIES)
        (self.folder / "elsewhere").mkdir()
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("VECINO_")}
        self.environment["HOME"] = str(self.folder)

    def shell(self, command, code=0, **environment):
        done = subprocess.run(
            ["bash", "-c", command], cwd=self.folder / "elsewhere", env=self.environment | environment,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def test_what_it_says_to_type_works(self):
        port, run = free_port(), self.folder / "deploy" / "run"
        said = self.shell(
            f"{run} --home 'a home' --port {port} --no-demo", VECINO_GENERATOR_URL="http://127.0.0.1:9/v1"
        )
        stop = re.search(r"^  (.*--stop) ", said, re.MULTILINE).group(1)
        try:
            self.assertIn("the generator at http://127.0.0.1:9", (self.folder / "elsewhere/a home/vecinod.log").read_text())
            other = self.shell(f"{run} --home 'a home' --port {port + 2} --no-demo", code=1)
            self.assertIn(f"stop it first ({stop})", other)
            self.assertIn("no vecinod of", self.shell(f"{run} --stop"))  # the default home's
        finally:
            self.assertIn("stopped vecinod", self.shell(stop))
        again = re.search(r"^  (.*) +# start it again$", said, re.MULTILINE).group(1)
        self.assertIn(f"--port {port} --no-demo", again)
        self.assertIn(f"vecinod runs on 127.0.0.1:{port} ", self.shell(again))
        self.assertIn("stopped vecinod", self.shell(stop))

    def test_the_home_of_the_environment(self):
        port, home = free_port(), self.folder / "other"
        said = self.shell(f"{self.folder}/deploy/run --port {port} --no-demo", VECINO_HOME=str(home))
        stop = re.search(r"^  (.*--stop) ", said, re.MULTILINE).group(1)
        self.assertIn("stopped vecinod", self.shell(stop))


if __name__ == "__main__":
    unittest.main()
