#!/bin/sh
# buf's STANDARD and COMMENTS rules over proto/. buf comes with the tests' Python packages.
cd "$1/proto" || exit 2
buf=$(dirname "${VECINO_TEST_PYTHON:-/nonexistent/python}")/buf
[ -x "$buf" ] || buf=$(command -v buf) || { echo "buf is not installed: run deploy/test, which makes its environment"; exit 1; }
"$buf" lint . && echo "buf $("$buf" --version) lint: no problems"
