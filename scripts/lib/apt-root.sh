# shellcheck shell=bash
# apt-root.sh: a small root with real apt and dpkg, and a signed archive of toy packages in it, so that installing,
# failing and removing can be tried in a chroot without a network. Cached by a hash of its recipe.
# usage: source scripts/lib/{say,packages,apt-root}.sh
#   apt_root_ensure          prints the root's directory; it is only read from (tests lay an overlay on it)

apt_root_ensure() {
  local recipe root
  recipe=$(cat "$REPO/scripts/lib/apt-root.sh" "$REPO/tests/apt/archive" "$REPO/tests/archive.sh" | sha256sum | cut -c1-12)
  root=$CACHE/apt-root-$(apt_root_suite)-$recipe
  [ -d "$root" ] || locked apt-root apt_root_make "$(apt_root_suite)" "$root" >&2
  printf '%s\n' "$root"
}

# The tests run in it themselves, so it has to be of this machine's own release, or they miss their C library.
apt_root_suite() { ( . /etc/os-release; [ "$ID" = debian ] && printf '%s' "${VERSION_CODENAME:-bookworm}" || printf bookworm ); }

apt_root_make() {
  local suite=$1 root=$2 mirror proxy new old
  [ ! -d "$root" ] || return 0
  packages_ensure mmdebstrap debian-archive-keyring gpg gpg-agent
  mirror=$(packages_mirror)
  proxy=$(packages_proxy)
  say "making a root to try apt in (half a minute, once)"
  mkdir -p "$CACHE"
  new=$(mktemp -d --tmpdir="$CACHE" apt-root-XXXXXX)
  quietly mmdebstrap --mode=root --variant=minbase \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    ${proxy:+--aptopt="Acquire::http::Proxy \"$proxy\""} \
    --customize-hook="'$REPO/tests/apt/archive' \"\$1\"" \
    "$suite" "$new/root" "deb $mirror $suite main" || { rm -rf "$new"; die "cannot make a root to try apt in"; }
  for old in "$CACHE"/apt-root-*-*; do
    [ ! -d "$old" ] || rm -rf --one-file-system "$old"
  done
  mv "$new/root" "$root"
  rm -rf "$new"
}
