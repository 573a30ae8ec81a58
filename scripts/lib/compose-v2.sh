# shellcheck shell=bash
# compose-v2.sh: the second generation of compose, from Debian trixie's package, unpacked and not installed: hosts of
# older releases have the first generation, and both are in use.
# usage: source scripts/lib/{say,packages,compose-v2}.sh
#   compose_v2_ensure    prints a directory holding the executable `docker-compose`

compose_v2_ensure() {
  local dir=$CACHE/compose-v2
  [ -x "$dir/docker-compose" ] || locked compose-v2 compose_v2_fetch "$dir" >&2
  printf '%s\n' "$dir"
}

compose_v2_fetch() {
  local dir=$1 work mirror
  [ ! -x "$dir/docker-compose" ] || return 0
  mirror=$(packages_mirror)
  say "fetching compose v2 (from Debian trixie's package)"
  work=$(mktemp -d)
  mkdir -p "$work"/{lists,cache,deb}/partial "$dir"
  printf 'deb %s trixie main\n' "$mirror" >"$work/sources.list"
  # lists and cache of its own, so that this machine's apt never hears of trixie
  local apt=(apt-get -q -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
  quietly "${apt[@]}" update
  ( cd "$work/deb" && quietly "${apt[@]}" download docker-compose )
  dpkg-deb -x "$work"/deb/docker-compose_*.deb "$work/root"
  # one static name for the plugin and the command: they are the same program
  cp -L "$(find "$work/root" -name docker-compose -type f -size +1M | head -n 1)" "$dir/docker-compose.new"
  mv "$dir/docker-compose.new" "$dir/docker-compose"
  rm -rf "$work"
}
