#!/usr/bin/env bash
# Runs a command as root: directly, or through sudo (which may ask for a password on a terminal).
set -eu
if [ "$(id -u)" = 0 ]; then
  exec "$@"
elif ! command -v sudo >/dev/null; then
  echo "weavewg: root is needed for network namespaces, and there is no sudo: run this as root" >&2
  exit 5
elif sudo -n true 2>/dev/null; then
  exec sudo -n "$@"
else
  exec sudo "$@"
fi
