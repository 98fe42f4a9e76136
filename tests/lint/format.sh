#!/bin/sh
# Every C++ file is as clang-format would have it. Mend: clang-format -i FILE.
cd "$1" || exit 2
command -v clang-format >/dev/null || { echo "clang-format is not installed: run deploy/install-deps test"; exit 1; }
find storage encoder server client tests -name '*.h' -print0 -o -name '*.cc' -print0 |
  xargs -0 clang-format --dry-run --Werror
