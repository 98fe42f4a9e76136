#!/bin/sh
# Clang's thread-safety analysis over every source file of ours that touches a lock, as an error. What passed is
# not looked at again while neither it nor a header of ours that it includes, as the build told, has changed.
# Usage: thread_safety.sh SOURCE_DIR BINARY_DIR
command -v clang++-14 >/dev/null || { echo "clang-14 is not installed: run deploy/install-deps test"; exit 1; }
python3 - "$1" "$2" <<'PY'
import concurrent.futures, hashlib, json, os, re, shlex, subprocess, sys
source, binary = sys.argv[1:]
# The cache of deploy/lib.sh.
home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
cache = os.path.join(os.environ.get("VECINO_CACHE") or os.path.join(home, "vecino"), "thread_safety")
os.makedirs(cache, exist_ok=True)
# Not -w: it silences -Werror=thread-safety, too, and nothing could fail.
analysis = ["-fsyntax-only", "-Wno-everything", "-Wthread-safety", "-Werror=thread-safety", "-x", "c++"]
version = subprocess.run(["clang++-14", "--version"], capture_output=True, check=True).stdout
contents = {}
def content(path):
    if path not in contents:
        with open(path, "rb") as file:
            contents[path] = file.read()
    return contents[path]
# Of each object the files of ours it was compiled from.
ours, target = {}, None
for line in subprocess.run(["ninja", "-C", binary, "-t", "deps"], capture_output=True, text=True, check=True).stdout.splitlines():
    if line.startswith(" "):
        path = os.path.normpath(os.path.join(binary, line.strip()))
        if path.startswith(source + os.sep) and "cmake_pch" not in path:
            ours[target].append(path)
    elif ": #deps" in line:
        target = line.split(": #deps")[0]
        ours[target] = []
# What the analysis looks at: locks, and what is declared to be guarded by one or to take, need or exclude one. A
# source file that names none of that cannot be wrong; what headers have inline is seen from those that do.
guarded = re.compile(rb"(\w+)(?:\s*=[^;]*|\s*\{[^;]*\})?\s+ABSL_(?:PT_)?GUARDED_BY")
locking = re.compile(rb"(\w+)\s*\([^;{}]*\)[^;{}]*\sABSL_\w*LOCK\w*")
always = {b"Mutex", b"MutexLock", b"ReaderMutexLock", b"WriterMutexLock", b"CondVar", b"lock_guard", b"unique_lock"}
declared = {}
def touches_lock(path, files):
    names = set(always)
    for file in files:
        if file not in declared:
            declared[file] = {*guarded.findall(content(file)), *locking.findall(content(file))}
        names |= declared[file]
    return re.search(rb"\b(" + b"|".join(names) + rb")\b", content(path))
jobs, skipped, known = [], 0, 0
for entry in json.load(open(os.path.join(binary, "compile_commands.json"))):
    name = os.path.relpath(entry["file"], source)
    if not name.startswith(("storage/", "encoder/", "server/", "client/")):
        continue
    if name == "encoder/torch_executor.cc":
        continue   # clang 14 cannot parse LibTorch 1.13's headers as C++20; the file has no lock
    words = shlex.split(entry["command"])
    flags = []
    it = iter(words)
    for word in it:
        if word in ("-I", "-isystem", "-D"):
            flags += [word, next(it)]
        elif word == "-include":
            next(it)   # GCC's precompiled headers; the sources include what they use
        elif re.match(r"-(I|isystem|D|std=)", word):
            flags.append(word)
    output = os.path.relpath(os.path.join(entry["directory"], words[words.index("-o") + 1]), binary)
    files = sorted(ours.get(output, []))
    if not files:
        sys.exit(f"thread safety: {output} is not built, so what it includes is not known")
    if not touches_lock(entry["file"], files):
        skipped += 1
        continue
    key = hashlib.sha256(version + "\0".join(analysis + flags).encode())
    for file in files:
        key.update(content(file))
    stamp = os.path.join(cache, key.hexdigest())
    if os.path.exists(stamp):
        known += 1
        continue
    jobs.append((name, stamp, ["clang++-14", *analysis, *flags, entry["file"]], entry["directory"]))
def run(job):
    name, stamp, command, folder = job
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    if done.returncode == 0:
        open(stamp, "w").close()
    return name, done.returncode, done.stderr
bad = 0
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    for name, code, err in pool.map(run, jobs):
        if code:
            bad += 1
            print(f"--- {name}\n{err}")
print(f"thread safety: {len(jobs)} files, {bad} with problems; {known} unchanged since they passed, {skipped} touch no lock")
sys.exit(1 if bad or not jobs + [0] * known else 0)
PY
