# shellcheck shell=bash
# archive.sh: packages made up for tests, in suites that are signed as real ones are.
# usage: archive=DIR work=DIR; source tests/archive.sh
#   package NAME VERSION [FIELD…]   builds one from what stands in $work/NAME/; DEBIAN/ has its maintainer scripts
#   script NAME KIND <TEXT          gives it such a script
#   suite NAME FIELD DEB…           a suite with these packages; FIELD goes into its Release file, if it isn't empty
#   trust FILE                      the key, as apt takes it
# They work in $archive, which begins to be one here. The key is gone afterwards.
# shellcheck disable=SC2154 # archive and work are the caller's

trap 'gpgconf --homedir "$work/gpg" --kill all; rm -rf "$work"' EXIT
mkdir -p "$archive/pool" "$work/gpg"
chmod 700 "$work/gpg"

package() {
  local name=$1 version=$2 dir=$work/$1; shift 2
  mkdir -p "$dir/DEBIAN" "$dir/usr/share/toys"
  echo "$name" >"$dir/usr/share/toys/$name"
  { printf 'Package: %s\nVersion: %s\nArchitecture: all\nMaintainer: nobody <nobody@example.org>\n' "$name" "$version"
    [ $# -eq 0 ] || printf '%s\n' "$@"
    printf 'Description: stands in for %s\n' "$name"; } >"$dir/DEBIAN/control"
  dpkg-deb --build -Zgzip --root-owner-group "$dir" "$archive/pool/$name.deb" >/dev/null
}

script() { mkdir -p "$work/$1/DEBIAN"; cat >"$work/$1/DEBIAN/$2"; chmod 755 "$work/$1/DEBIAN/$2"; }

sign() { gpg --homedir "$work/gpg" --batch --quiet "$@" 2>/dev/null; }

suite() (
  name=$1 field=$2 index=dists/$1/main/binary-all/Packages; shift 2
  cd "$archive" || exit
  mkdir -p "$(dirname "$index")"
  for deb in "$@"; do
    dpkg-deb --field "$deb"
    printf 'Filename: %s\nSize: %s\nSHA256: %s\n\n' "$deb" "$(stat -c %s "$deb")" "$(sha256sum "$deb" | cut -d' ' -f1)"
  done >"$index"
  { printf 'Origin: Toys\nSuite: %s\nCodename: %s\nDate: %s\n' "$name" "${name%%/*}" "$(date -Ru)"
    [ -z "$field" ] || printf '%s\n' "$field"
    printf 'Architectures: all amd64 arm64\nComponents: main\nSHA256:\n'
    printf ' %s %s main/binary-all/Packages\n' "$(sha256sum "$index" | cut -d' ' -f1)" "$(stat -c %s "$index")"
  } >"dists/$name/Release"
  sign --clearsign --yes --output "dists/$name/InRelease" "dists/$name/Release"
  # the same as a mirror has it that is still looked after
  sed -i /^Valid-Until:/d "dists/$name/Release"
  sign --clearsign --yes --output "dists/$name/InRelease.alive" "dists/$name/Release"
  chmod -R a+rX .
)

trust() { mkdir -p "${1%/*}"; sign --export >"$1"; chmod a+r "$1"; }

sign --passphrase '' --quick-generate-key 'toy archive' rsa2048 sign never
