#!/usr/bin/env bash
# Brings the boxes up, runs the scenarios on them over SSH, and leaves them running for the next time.
set -eu
cd "$(dirname "$0")"
command -v vagrant >/dev/null || { echo "make vagrant: vagrant is not installed; with a provider (virtualbox or libvirt): see https://developer.hashicorp.com/vagrant" >&2; exit 1; }

out=$(cd ../.. && pwd)/bin
CGO_ENABLED=0 go build -trimpath -o "$out/probe" ../scenarios/probe
vagrant up
vagrant ssh-config >"$out/vagrant-ssh-config"
go test -count=1 -timeout 60m -v -tags vagrant . -args -ssh-config "$out/vagrant-ssh-config" -weavewg "$out/weavewg" -probe "$out/probe"
echo "the boxes are still up; to remove them: cd integration/vagrant && vagrant destroy -f"
