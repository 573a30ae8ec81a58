# shellcheck shell=bash
# say.sh: how every script talks, and where it may keep things.
# usage: source scripts/lib/say.sh
#   say TEXT…        one progress line on stderr, with the seconds since the start (stdout carries results)
#   die TEXT… [-- HINT]   the last line of a failed script, with a command to run, then exit 1
#   need_root        stop early, before anything is half done
# CACHE survives (images' recipes, keys, downloads); STATE is gone after a reboot, like the processes it names.

# A failure inside $( ) is a failure, too.
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

need_root() {
  [ "$(id -u)" -eq 0 ] || die "needs root: it installs packages and runs containers" -- "sudo $0 $*"
  mkdir -p "$CACHE" "$STATE"
}

# Runs a command quietly; its output is shown only when it fails, because then it is all there is to go by.
quietly() {
  local log status=0
  log=$(mktemp)
  "$@" >"$log" 2>&1 </dev/null || status=$?
  [ "$status" -eq 0 ] || { printf '%s\n' "--- failed ($status): $*" >&2; tail -n 40 "$log" >&2; }
  rm -f "$log"
  return "$status"
}

# Runs a command under a lock by that name, so that two scripts never make the same thing at once.
locked() {
  local lock=$STATE/$1.lock; shift
  # The lock's descriptor is closed for the command itself: a daemon it starts must not hold it for ever.
  ( flock 9; "$@" 9>&- ) 9>"$lock"
}
