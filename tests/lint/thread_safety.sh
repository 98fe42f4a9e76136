#!/bin/sh
# Clang's thread-safety analysis over every source file of ours, as an error.
# Usage: thread_safety.sh SOURCE_DIR BINARY_DIR
command -v clang++-14 >/dev/null || { echo "clang-14 is not installed: run deploy/install-deps test"; exit 1; }
python3 - "$1" "$2" <<'PY'
import concurrent.futures, json, os, re, shlex, subprocess, sys
source, binary = sys.argv[1:]
jobs = []
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
    jobs.append((name, ["clang++-14", "-fsyntax-only", "-w", "-Wthread-safety", "-Werror=thread-safety", "-x", "c++", *flags,
                        entry["file"]], entry["directory"]))
def run(job):
    done = subprocess.run(job[1], cwd=job[2], capture_output=True, text=True)
    return job[0], done.returncode, done.stderr
bad = 0
with concurrent.futures.ThreadPoolExecutor(2) as pool:
    for name, code, err in pool.map(run, jobs):
        if code:
            bad += 1
            print(f"--- {name}\n{err}")
print(f"thread safety: {len(jobs)} files, {bad} with problems")
sys.exit(1 if bad or not jobs else 0)
PY
