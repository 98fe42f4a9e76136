#!/usr/bin/python3
"""Writes the demo collection `packages` as JSONL: every Debian package this machine's apt lists know.

    make_packages.py OUTPUT

One line a package name: id (the name), text (name and short description) and metadata: section, version,
maintainer, installed_size (KiB, a number), tags (debtags, a list) and homepage, where the package has them.
Needs nothing but Python's standard library and apt-cache; run `apt-get update` first.
"""

import collections
import json
import os
import subprocess
import sys

FEWEST = 1_000  # a machine with fewer has no lists of an archive


def stanzas(lines):
    """Yields each paragraph of Debian's control format as a dictionary; continuation lines are joined."""
    fields = {}
    key = None
    for line in lines:
        line = line.rstrip("\n")
        if not line:
            if fields:
                yield fields
            fields, key = {}, None
        elif line[0] in " \t":
            if key:
                fields[key] += "\n" + line.strip()
        else:
            key, _, value = line.partition(":")
            fields[key] = value.strip()
    if fields:
        yield fields


def short_description(fields):
    """The first line of the description, in English whatever else there is."""
    for key in ("Description", "Description-en"):
        if fields.get(key):
            return fields[key].split("\n", 1)[0].strip()
    return ""


def document(fields):
    name = fields["Package"]
    description = short_description(fields)
    metadata = {
        "section": fields.get("Section", ""),
        "version": fields.get("Version", ""),
        "maintainer": fields.get("Maintainer", ""),
        "homepage": fields.get("Homepage", ""),
    }
    metadata = {key: value for key, value in metadata.items() if value}
    if fields.get("Installed-Size", "").isdigit():
        metadata["installed_size"] = int(fields["Installed-Size"])
    tags = [tag.strip() for tag in fields.get("Tag", "").replace("\n", " ").split(",")]
    if any(tags):
        metadata["tags"] = [tag for tag in tags if tag]
    text = f"{name}: {description}" if description else name
    return {"id": name, "text": text, "metadata": metadata}


def documents():
    """One document a package name; of several versions the one apt lists first, its newest."""
    environment = dict(os.environ, LC_ALL="C.UTF-8")
    process = subprocess.Popen(
        ["apt-cache", "dumpavail"],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        env=environment,
    )
    seen = set()
    for fields in stanzas(process.stdout):
        if "Package" in fields and fields["Package"] not in seen:
            seen.add(fields["Package"])
            yield document(fields)
    if process.wait() != 0:
        sys.exit(f"make_packages.py: apt-cache dumpavail failed ({process.returncode})")


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: make_packages.py OUTPUT")
    output = sys.argv[1]
    count = 0
    sections = collections.Counter()
    partial = output + ".part"
    with open(partial, "w", encoding="utf-8") as file:
        for item in documents():
            file.write(json.dumps(item, ensure_ascii=False) + "\n")
            count += 1
            sections[item["metadata"].get("section", "none")] += 1
    if count < FEWEST:
        os.unlink(partial)
        sys.exit(f"make_packages.py: apt knows only {count} packages; run `apt-get update` first")
    os.replace(partial, output)
    largest = ", ".join(f"{name} {n:,}" for name, n in sections.most_common(3))
    print(f"{output}: {count:,} packages in {len(sections)} sections ({largest}, …)")


if __name__ == "__main__":
    main()
