# shellcheck shell=bash
# rust.sh: the compiler, and a linker for it.
# usage: source scripts/lib/{say,packages,rust}.sh
#   rust_ensure     finds cargo also where only a login shell would; installs the linker, never the compiler

rust_ensure() {
  local home=$HOME
  # under sudo, the compiler is most often the caller's
  [ -z "${SUDO_USER:-}" ] || home=$(getent passwd "$SUDO_USER" | cut -d: -f6)
  if ! command -v cargo >/dev/null && [ -x "${CARGO_HOME:-$home/.cargo}/bin/cargo" ]; then
    export PATH=$PATH:${CARGO_HOME:-$home/.cargo}/bin RUSTUP_HOME=${RUSTUP_HOME:-$home/.rustup}
  fi
  command -v cargo >/dev/null || die "cargo is not installed (Cargo.toml's rust-version says which)" -- \
    "curl --proto '=https' -sSf https://sh.rustup.rs | sh"
  command -v cc >/dev/null || packages_ensure gcc libc6-dev
}
