#!/usr/bin/env bash
# Makes the image of HAProxy from Debian packages, for a machine whose Docker engine reaches no registry.
#
# usage: sudo docker-bases.sh [IMAGE] [PACKAGES]     default: haproxy:2.6 haproxy
#        sudo docker-bases.sh debian-python:12 python3     a base for nodes with upstreams in Python (ERLMCP_BASE_IMAGE)
#
#   ERLMCP_DEBIAN_SUITE=bookworm
#   ERLMCP_DEBIAN_MIRROR=             without: debootstrap's own
#
# Needs root and debootstrap. An image that is there is kept.
set -euo pipefail

case ${1:-} in -h | --help)
    sed -n '2,10p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//'
    exit 0
    ;;
esac
image=${1:-haproxy:2.6}
packages=${2:-haproxy}
die() {
    printf 'docker-bases: %s\n' "$*" >&2
    exit 1
}
if docker image inspect "$image" >/dev/null 2>&1; then
    echo "$image is there already"
    exit 0
fi
(($(id -u) == 0)) || die "debootstrap needs root: sudo $0 $*"
command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"

tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
echo "making $image: Debian ${ERLMCP_DEBIAN_SUITE:-bookworm} with $packages ..."
debootstrap --variant=minbase --include="${packages// /,}" "${ERLMCP_DEBIAN_SUITE:-bookworm}" "$tree" ${ERLMCP_DEBIAN_MIRROR:+"$ERLMCP_DEBIAN_MIRROR"} >"$tree.log" 2>&1 || {
    tail -n 5 "$tree.log" >&2
    die "debootstrap failed; its log is $tree.log"
}
rm -f "$tree.log"
# What only the making of packages needs.
rm -rf "$tree"/var/cache/apt/* "$tree"/var/lib/apt/lists/* "$tree"/usr/share/doc/* "$tree"/usr/share/locale/* "$tree"/usr/share/man/*
tar -C "$tree" -c . | docker import --change 'CMD ["haproxy", "-W", "-db", "-f", "/usr/local/etc/haproxy/haproxy.cfg"]' - "$image" >/dev/null
echo "made $image ($(docker image inspect --format '{{.Size}}' "$image" | awk '{printf "%.0f MB", $1 / 1e6}'))"
