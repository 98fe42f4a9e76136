#!/bin/sh
# The scripts under deploy parse, and shellcheck has nothing to say about them.
cd "$1" || exit 2
command -v shellcheck >/dev/null || { echo "shellcheck is not installed: run deploy/install-deps test"; exit 1; }
shellcheck -x -S warning deploy/install-deps deploy/run deploy/test deploy/lib.sh .ci/run tests/lint/*.sh && echo "shellcheck: no problems"
