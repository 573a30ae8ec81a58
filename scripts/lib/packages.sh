# shellcheck shell=bash
# packages.sh: Debian packages, and where this machine takes them from.
# usage: source scripts/lib/say.sh scripts/lib/packages.sh
#   packages_ensure NAME…      installs missing packages
#   packages_ensure_alike NAME…  installs packages of one source in the version that apt would take of the first. A newer
#                              one that is already installed is downgraded, because the versions conflict
#   packages_mirror            prints the Debian mirror of this machine's own apt configuration
#   packages_security_mirror   prints the security mirror beside it, or nothing
#   packages_proxy             prints apt's http proxy, or nothing
# MITIGATOR_VPN_TEST_MIRROR=URL overrides the mirror (a machine that is not Debian needs it).

packages_apt() {
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
    apt-get -y -q -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confold "$@"
}

packages_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }

packages_ensure() {
  local name missing=()
  for name in "$@"; do packages_installed "$name" || missing+=("$name"); done
  [ ${#missing[@]} -gt 0 ] || return 0
  command -v apt-get >/dev/null || die "needs the packages ${missing[*]}, and there is no apt-get here to install them"
  say "installing packages: ${missing[*]}"
  locked packages packages_install "${missing[@]}"
}

packages_ensure_alike() {
  local name
  for name in "$@"; do
    packages_installed "$name" || { locked packages packages_install_alike "$@"; return; }
  done
}

packages_install_alike() {
  local version name found
  # The exact version is requested, so the lists must be current.
  packages_apt update >/dev/null 2>&1 || say "some apt sources of this machine fail, going on with the others"
  version=$(packages_candidate "$1")
  say "installing packages in version $version: $*"
  for name in "$@"; do
    found=$(dpkg-query -W -f '${Version}' "$name" 2>/dev/null) || continue
    [ -z "$found" ] || [ "$found" = "$version" ] || say "$name $found makes way for $version, which $1 is to be had in"
  done
  packages_install --allow-downgrades "${@/%/=$version}"
}

# The version of a package that apt would install.
packages_candidate() {
  local version
  version=$(LC_ALL=C apt-cache policy "$1" | awk '$1 == "Candidate:" { print $2 }')
  [ "${version:-(none)}" != '(none)' ] || die "apt knows no package $1" -- "apt-cache policy $1"
  printf '%s\n' "$version"
}

packages_install() {
  # Without systemd, a postinst would start its daemon from an init script, with other options than ours.
  local policy=/usr/sbin/policy-rc.d status=0
  if [ ! -d /run/systemd/system ] && [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"
  else
    policy=
  fi
  # Installs first and updates only when that fails: usually the lists are there, and a broken third-party source makes
  # `update` fail.
  if ! packages_apt install --no-install-recommends "$@" >/dev/null 2>&1; then
    packages_apt update >/dev/null 2>&1 || say "some apt sources of this machine fail, going on with the others"
    quietly packages_apt install --no-install-recommends "$@" || status=$?
  fi
  [ -z "$policy" ] || rm -f "$policy"
  [ "$status" -eq 0 ] || die "cannot install $*" -- "apt-get update && apt-get install $*"
}

# shellcheck disable=SC2016 # apt's own placeholder
packages_uri_ending_in() { apt-get indextargets --format '$(REPO_URI)' | grep -m1 -E "/$1/?\$" || true; }

packages_mirror() {
  local mirror=${MITIGATOR_VPN_TEST_MIRROR:-$(packages_uri_ending_in debian)}
  [ -n "$mirror" ] || die "no Debian mirror in this machine's apt configuration" -- "MITIGATOR_VPN_TEST_MIRROR=http://…/debian $0"
  printf '%s\n' "${mirror%/}"
}

packages_security_mirror() {
  local mirror
  mirror=$(packages_uri_ending_in debian-security)
  printf '%s\n' "${mirror%/}"
}

packages_proxy() { ( eval "$(apt-config shell proxy Acquire::http::Proxy)"; printf '%s\n' "${proxy:-}" ); }
