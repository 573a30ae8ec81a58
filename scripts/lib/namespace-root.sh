# shellcheck shell=bash
# namespace-root.sh: what namespace hosts have in common: a Debian with sshd, sudo, Python and WireGuard's tools, from
# this machine's own mirror. Cached by a hash of its recipe.
# usage: source scripts/lib/{say,packages,namespace-root}.sh
#   namespace_root_ensure     prints the root's directory; it is only read from (hosts lay an overlay on it)

NAMESPACE_ROOT_PACKAGES=(openssh-server sudo iproute2 iputils-ping procps kmod python3 wireguard-tools wireguard-go)

namespace_root_ensure() {
  local recipe root
  recipe=$(printf '%s\n' bookworm "${NAMESPACE_ROOT_PACKAGES[@]}" | sha256sum | cut -c1-12)
  root=$CACHE/namespace-root-$recipe
  [ -d "$root" ] || locked namespace-root namespace_root_make "$root" >&2
  printf '%s\n' "$root"
}

namespace_root_make() {
  local root=$1 mirror proxy new
  [ ! -d "$root" ] || return 0
  packages_ensure mmdebstrap debian-archive-keyring
  mirror=$(packages_mirror)
  proxy=$(packages_proxy)
  say "making the root of namespace hosts (a minute, once)"
  mkdir -p "$CACHE"
  new=$(mktemp -d --tmpdir="$CACHE" namespace-root-XXXXXX)
  quietly mmdebstrap --mode=root --variant=minbase --include="$(IFS=,; printf '%s' "${NAMESPACE_ROOT_PACKAGES[*]}")" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    ${proxy:+--aptopt="Acquire::http::Proxy \"$proxy\""} \
    bookworm "$new/root" "deb $mirror bookworm main" || { rm -rf "$new"; die "cannot make the root of namespace hosts"; }
  rm -f "$new"/root/etc/ssh/ssh_host_*
  mv "$new/root" "$root"
  rm -rf "$new"
}
