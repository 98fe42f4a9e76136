#!/usr/bin/env python3
"""Compares every #include with the layer table of docs/architecture.md.

The table is read from the document itself, so the page and the check cannot drift apart.
Usage: layers.py SOURCE_DIR. Exit status 1 when a file includes what its folder may not."""
import pathlib
import re
import sys

# Header prefix -> the third-party name the table uses. The first match wins.
THIRD_PARTY = [
    (r"absl/", "absl"), (r"rocksdb/", "rocksdb"), (r"(torch|ATen|c10|caffe2)/", "torch"),
    (r"(oneapi/dnnl|dnnl)", "onednn"), (r"sentencepiece", "sentencepiece"), (r"faiss/", "faiss"),
    (r"omp\.h", "openmp"), (r"hwy/", "highway"), (r"immintrin\.h|cpuid\.h", "intrinsics"), (r"spdlog/|fmt/", "spdlog"),
    (r"roaring", "roaring"), (r"(grpc|grpcpp)/", "grpc"), (r"google/(protobuf)/", "protobuf"),
    (r"CLI/", "CLI11"), (r"prometheus/", "prometheus-cpp"), (r"httplib\.h", "cpp-httplib"),
    (r"nlohmann/", "nlohmann-json"), (r"openssl/", "openssl"),
    (r"unicode/", "icu"), (r"libstemmer\.h", "libstemmer"),
]
PROTO = re.compile(r"(vecino/v1|google/(rpc|longrunning))/.*\.pb\.h$")
POSIX = re.compile(r"(sys|netinet|arpa)/|(unistd|fcntl|signal|pthread|poll|dirent|termios|sched|netdb|getopt|errno|"
                   r"stdlib|string)\.h$|linux/")


def read_table(architecture):
    """Rows of the table after '| folder |': folder -> (first party, third party)."""
    rows = {}
    lines = architecture.read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("| folder |"))
    for line in lines[start + 2:]:
        if not line.startswith("|"):
            break
        folder, first, third = [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        split = lambda cell: [] if cell in ("–", "-", "") else [item.strip() for item in cell.split(",")]
        rows[folder] = (split(first), split(third))
    return rows


def row_of(path, rows):
    """The most specific row: a file's own row before its folder's."""
    best = None
    for folder in rows:
        for name in folder.split(" and "):
            stem = path.rsplit(".", 1)[0]
            if path == name or stem == name or path.startswith(name.rstrip("/") + "/"):
                if best is None or len(name) > best[1]:
                    best = (folder, len(name))
    return best[0] if best else None


def main():
    source = pathlib.Path(sys.argv[1])
    rows = read_table(source / "docs" / "architecture.md")
    problems, files = [], 0
    for room in ("storage", "encoder", "server", "client"):
        for path in sorted((source / room).rglob("*")):
            if path.suffix not in (".h", ".cc", ".inc"):
                continue
            files += 1
            name = str(path.relative_to(source))
            row = row_of(name, rows)
            if row is None:
                problems.append(f"{name}: no row of the table in docs/architecture.md covers it")
                continue
            first, third = rows[row]
            own = [part for part in row.split(" and ")]
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
                if not match:
                    continue
                include = match.group(2)
                where = f"{name}:{number}: includes {include}"
                if PROTO.search(include):
                    allowed = "proto" in first or any(
                        item.startswith("proto (not in ") and not name.startswith(item[14:-1]) for item in first)
                    if not allowed:
                        problems.append(f"{where}: {row} may not see proto types here")
                    continue
                library = next((label for pattern, label in THIRD_PARTY if re.match(pattern, include)), None)
                if library == "absl" or POSIX.match(include) or "/" not in include and library is None:
                    continue  # std, the system, absl, and files beside this one
                if library:
                    if not any(item.split(" ")[0] == library for item in third):
                        problems.append(f"{where}: {row} may not use {library}")
                    continue
                covers = lambda f: include.rsplit(".", 1)[0] == f or include.startswith(f.rstrip("/") + "/")
                inside, public = any(map(covers, own)), any(map(covers, first))
                # A folder's public side does not take in a folder that has a row of its own.
                inside = inside and row_of(include, rows) in (row, None)
                generated = not (source / include).exists() and not (source / "client" / include).exists()
                if generated:
                    problems.append(f"{where}: no such file, and no library of that name is known to this check")
                elif not inside and not public:
                    problems.append(f"{where}: {row} may include only {', '.join(first) or 'itself'}")
    for problem in problems:
        print(problem)
    print(f"layers: {files} files, {len(rows)} rows, {len(problems)} problems")
    return 1 if problems or files == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
