# shellcheck shell=bash
# venv.sh: Python programs from PyPI, each set in an environment of its own, made once.
# usage: source scripts/lib/{say,packages,venv}.sh
#   venv_ensure PACKAGE==VERSION…     prints the environment's directory

# The last of each for Python 3.11, Debian 12's.
# shellcheck disable=SC2034 # for those who source this
PYINFRA=pyinfra==3.10.0
ANSIBLE=ansible-core==2.19.14
# What docker-compose 1.29.2 reads .env with, in Debian 12.
# shellcheck disable=SC2034
DOTENV=python-dotenv==0.21.0

venv_ensure() {
  local venv
  venv=$CACHE/venv-$(printf '%s\n' "$@" | sha256sum | cut -c1-12)
  [ -x "$venv/complete" ] || locked venv venv_make "$venv" "$@" >&2
  printf '%s\n' "$venv"
}

venv_make() {
  local venv=$1; shift
  [ ! -x "$venv/complete" ] || return 0
  command -v python3 >/dev/null || packages_ensure python3
  python3 -c 'import ensurepip' 2>/dev/null || packages_ensure python3-venv
  say "installing $* (once)"
  rm -rf "$venv"
  quietly python3 -m venv "$venv"
  quietly "$venv/bin/pip" install --no-input "$@" || { rm -rf "$venv"; die "cannot install $*"; }
  ln -s bin/python "$venv/complete"
}
