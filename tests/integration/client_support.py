"""Starts and ends real servers, and runs the real command line, for the tests in this folder."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(os.environ.get("VECINO_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BINARIES = pathlib.Path(os.environ.get("VECINO_BINARY_DIR", SOURCE / "build" / "dev")) / "bin"
MODEL = "all-MiniLM-L6-v2"
SKIPPED = 77


def skip(reason):
    """Ends the test as skipped, for ctest."""
    print(f"skipped: {reason}")
    sys.exit(SKIPPED)


def model_root():
    """The folder of the models, or None where there is none."""
    root = os.environ.get("VECINO_MODEL_ROOT", "")
    return root if root and (pathlib.Path(root) / MODEL / "manifest.json").exists() else None


def need_model_root():
    """The same; where there is none, the test ends as skipped."""
    root = model_root()
    if root is None:
        skip(f"no {MODEL} in VECINO_MODEL_ROOT")
    return root


class Server:
    """One vecinod on free ports of loopback, with its data in a folder that outlives the process."""

    def __init__(self, data_dir, models=None, arguments=(), log=None):
        self.data_dir = str(data_dir)
        self.models = models
        self.arguments = list(arguments)
        self.log_path = log or self.data_dir + ".log"
        self.process = None
        self.address = None
        self.admin = None
        os.makedirs(self.models or self.data_dir + ".models", exist_ok=True)

    def start(self, listen="127.0.0.1:0", timeout=60):
        """Starts the process and waits until it serves; returns the seconds that took."""
        port_file = self.data_dir + ".port"
        if os.path.exists(port_file):
            os.unlink(port_file)
        command = [
            str(BINARIES / "vecinod"), "--data-dir", self.data_dir,
            "--model-root", self.models or self.data_dir + ".models", "--listen", listen,
            "--admin-listen", "127.0.0.1:0", "--port-file", port_file, *self.arguments,
        ]  # fmt: skip
        begin = time.monotonic()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        while not os.path.exists(port_file):
            self._still_starting(begin, timeout)
        with open(port_file, encoding="utf-8") as file:
            ports = json.load(file)
        self.address, self.admin = (f"127.0.0.1:{ports[port]}" for port in ("grpc", "admin"))
        while vecino(self.address, "health").returncode != 0:
            self._still_starting(begin, timeout)
        return time.monotonic() - begin

    def _still_starting(self, begin, timeout):
        code = self.process.poll()
        if code is not None or time.monotonic() - begin > timeout:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                tail = log.read()[-3000:]
            what = f"ended with {code}" if code is not None else f"did not serve within {timeout} s"
            raise AssertionError(f"vecinod {what}; its log ends with:\n{tail}")
        time.sleep(0.01)

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self):
        """SIGTERM; returns the exit status."""
        if self.process is None or self.process.poll() is not None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("vecinod did not end within 60 s of SIGTERM") from None


class Workspace:
    """A temporary folder with a server; as a context manager it ends the one and removes the other."""

    def __init__(self, models=None, arguments=()):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vecino-test-"))
        self.server = Server(self.folder / "data", models, arguments)

    def __enter__(self):
        try:
            self.server.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        try:
            if self.server.process is not None and self.server.process.poll() is None:
                self.server.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def vecino(address, *arguments, stdin=None, environment=None):
    """Runs the command line; returns the finished process, with its output as text."""
    return subprocess.run(
        [str(BINARIES / "vecino"), "--server", address, *map(str, arguments)],
        input=stdin if stdin is not None else "",
        capture_output=True,
        encoding="utf-8",
        env=dict(os.environ, **(environment or {})),
        check=False,
    )
