# shellcheck shell=bash
# say.sh: messages, usage, and the directories that all scripts use.
# usage: source scripts/lib/say.sh
#   say TEXT…        prints a progress line on stderr, with the seconds since the start (results go to stdout)
#   die TEXT… [-- HINT]   prints an error, and a command to run, then exits with 1
#   help_if_asked "$@"   prints the usage of a script whose first argument is --help or -h, and ends it
#   refuse TEXT…     prints an error about an argument, and the usage, then exits with 2
#   takes N "$@"     refuses a subcommand with another number of words: N is 2, or 3-4, or 2- for any number from 2 on
#   need_root        exits unless run by root, before anything is changed
# CACHE persists (images, keys, downloads). STATE is gone after a reboot, like the processes it names.

# A failure inside $( ) fails the script, too.
shopt -s inherit_errexit

CACHE=${MITIGATOR_VPN_TEST_CACHE:-/var/cache/mitigator-vpn-testbed}
STATE=/run/mitigator-vpn-testbed
REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export CACHE STATE REPO

say() { printf '[%3ds] %s\n' "$SECONDS" "$*" >&2; }

die() {
  local text=() hint=
  while [ $# -gt 0 ]; do
    if [ "$1" = -- ]; then hint=${*:2}; break; fi
    text+=("$1"); shift
  done
  printf 'error: %s\n' "${text[*]}" >&2
  [ -z "$hint" ] || printf 'hint: %s\n' "$hint" >&2
  exit 1
}

# The usage of a script is the comment it begins with.
usage() { sed -n '2,/^[^#]/{/^#/!d;s/^# \?//;p}' "$0"; }

help_if_asked() { case ${1:-} in --help | -h) usage; exit 0 ;; esac; }

refuse() {
  printf 'error: %s\n' "$*" >&2
  usage >&2
  exit 2
}

takes() {
  local least=${1%-*} most=${1#*-}; shift
  if [ $# -lt "$least" ] || [ $# -gt "${most:-$#}" ]; then refuse "wrong number of arguments for $1"; fi
}

need_root() {
  [ "$(id -u)" -eq 0 ] || die "needs root: it installs packages and runs containers" -- "sudo $0 $*"
  mkdir -p "$CACHE" "$STATE"
}

# Runs a command quietly. Its output is shown only when it fails.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 </dev/null || status=$?
  [ "$status" -eq 0 ] || { printf '%s\n' "--- failed ($status): $*" >&2; tail -n 40 "$log" >&2; }
  rm -f "$log"
  return "$status"
}

# Runs a command under a named lock, so that two scripts never make the same thing at once.
locked() {
  local lock=$STATE/$1.lock; shift
  # The command doesn't inherit the lock's descriptor: a daemon that it starts must not hold the lock.
  ( flock 9; "$@" 9>&- ) 9>"$lock"
}
