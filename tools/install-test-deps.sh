#!/usr/bin/env bash
# Installs the Debian packages that the tests need and that are missing. Nothing here is needed to build or run weavewg.
set -eu

packages=(
  gcc libc6-dev                               # the race detector
  libpcap-dev                                 # build tag pcap
  iproute2 nftables iptables ethtool          # hosts of the lab, and checks with other people's eyes
  iputils-ping iperf3 tcpdump tshark socat jq iputils-arping ndisc6 # traffic and independent decoders
  wireguard-tools                             # wg show reads the same devices
  fastd                                       # what bench compares with
  docker.io busybox-static                    # real containers
  openssh-server openssh-client               # the SSH driver
  tinyproxy                                   # sites whose only way out is an HTTP proxy
  qemu-system-x86 zstd                        # kernel WireGuard
  ruby                                        # reads the Vagrantfile
)

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null)" = 'ii ' ] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

command -v apt-get >/dev/null || { echo "weavewg: the tests need ${missing[*]}, and there is no apt-get: install them by hand" >&2; exit 1; }
echo "installing for the tests: ${missing[*]}"
root="$(dirname "$0")/as-root.sh"
# RUNLEVEL=1 tells invoke-rc.d to start no service: the tests start their own docker and sshd.
"$root" env DEBIAN_FRONTEND=noninteractive apt-get update -qq
"$root" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}"
