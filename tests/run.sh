#!/usr/bin/env bash
# Runs every test: style, unit and integration tests in Rust, then stock Java clients against the built broker.
#
#   tests/run.sh            the short form of everything, a few minutes on two cores
#   tests/run.sh --long     the long form: 50 rounds of kill -9, 10,000 connections, 10,000 messages per Java case
#   tests/run.sh --no-java  Rust only
#
# Installs what is missing when it runs as root on Debian; otherwise says what to install and fails.
set -euo pipefail
cd "$(dirname "$0")/.."

long=no java=yes
for argument in "$@"; do
  case "$argument" in
    --long) long=yes ;;
    --no-java) java=no ;;
    -h|--help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "tests/run.sh: unknown argument $argument (see --help)" >&2; exit 2 ;;
  esac
done

step() { printf '\n== %s\n' "$*"; }

need() { # need COMMAND DEBIAN-PACKAGE
  command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}

install_missing() {
  missing=()
  need cc gcc
  need git git
  need make make
  if [ "$java" = yes ]; then
    need javac openjdk-17-jdk-headless
    need mvn maven
  fi
  if ! command -v cargo >/dev/null 2>&1; then
    echo "tests/run.sh: no cargo: install a Rust toolchain (1.95 or newer) first" >&2
    exit 1
  fi
  [ "${#missing[@]}" -eq 0 ] && return
  if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "tests/run.sh: please install: ${missing[*]}" >&2
    exit 1
  fi
  step "installing ${missing[*]}"
  apt-get update -q
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${missing[@]}"
}

install_missing

if cargo fmt --version >/dev/null 2>&1; then
  step "format"
  cargo fmt --all --check
fi
if cargo clippy --version >/dev/null 2>&1; then
  step "lints"
  cargo clippy --quiet --workspace --all-targets -- -D warnings
fi

if [ "$java" = yes ]; then
  step "Java brokers and clients"
  tests/java/run.sh --prepare
  export RINGMQ_JAVA=yes
fi

step "Rust tests"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if [ "$long" = yes ]; then
  export RINGMQ_ROUNDS=${RINGMQ_ROUNDS:-50} RINGMQ_CONNECTIONS=${RINGMQ_CONNECTIONS:-10000}
  export RINGMQ_CASES=${RINGMQ_CASES:-50000}
fi
status=0
cargo test --workspace --no-fail-fast 2>&1 | tee "$log" || status=1
passed=$(awk '/^test result:/ {n += $4} END {print n + 0}' "$log")
failed=$(awk '/^test result:/ {n += $6} END {print n + 0}' "$log")
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi

if [ "$java" = yes ]; then
  step "release build"
  cargo build --release --quiet
  step "stock Java clients"
  messages=2000
  if [ "$long" = yes ]; then messages=10000; fi
  tests/java/run.sh --broker ringmq --client all --serialize all --messages "$messages" 2>&1 | tee "$log" || true
  totals=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1 || true)
  if [ -z "$totals" ]; then totals="0 passed, 1 failed"; fi
  read -r p _ f _ <<<"$totals"
  passed=$((passed + p)) failed=$((failed + f))
fi

step "all tests"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
