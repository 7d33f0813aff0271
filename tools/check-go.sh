#!/usr/bin/env bash
# Says in one line why this machine cannot build weavewg, or nothing.
set -eu
cd "$(dirname "$0")/.."

need=$(sed -n 's/^go //p' go.mod)
fail() { echo "weavewg: $*" >&2; exit 1; }

[ "$(uname -s)" = Linux ] || fail "runs on Linux only (this is $(uname -s)): the data plane is the Linux kernel's"
go=$(command -v "${GO:-go}") || fail "Go $need or newer is needed to build, and no go is in PATH: see https://go.dev/dl"
have=$(cd / && "$go" env GOVERSION 2>/dev/null) || fail "$go does not answer 'go env': reinstall Go $need or newer"
have=${have#go}
have=${have%% *}
# A Go from 1.21 on fetches the toolchain that go.mod names, unless told not to (GOTOOLCHAIN=local).
if [ "$(printf '%s\n' "$need" "$have" | sort -V | head -n 1)" != "$need" ]; then
  "$go" version >/dev/null 2>&1 && [ "$(printf '%s\n' 1.21 "$have" | sort -V | head -n 1)" = 1.21 ] ||
    fail "Go $need or newer is needed to build, this is $have ($go): see https://go.dev/dl"
fi
