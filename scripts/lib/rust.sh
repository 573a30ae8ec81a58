# shellcheck shell=bash
# rust.sh: the compiler, and a linker for it.
# usage: source scripts/lib/say.sh scripts/lib/packages.sh scripts/lib/rust.sh
#   rust_ensure     finds cargo also where only a login shell would; installs the linker, never the compiler

rust_ensure() {
  local home=${CARGO_HOME:-$HOME/.cargo}
  command -v cargo >/dev/null || PATH=$PATH:$home/bin
  command -v cargo >/dev/null || die "cargo is not installed (the version wanted is rust-version in Cargo.toml)" -- \
    "curl --proto '=https' -sSf https://sh.rustup.rs | sh"
  export PATH
  command -v cc >/dev/null || packages_ensure gcc libc6-dev
}
