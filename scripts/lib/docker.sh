# shellcheck shell=bash
# docker.sh: a Docker daemon for container hosts. A running one is used. Otherwise one is started on the default socket,
# with a data directory of its own, and only that one is stopped.
# usage: source scripts/lib/say.sh scripts/lib/packages.sh scripts/lib/docker.sh
#   docker_ensure WHO           a daemon that answers; WHO (demo, test.PID, …) is remembered if we start it
#   docker_stop_started_by WHO  stops the daemon that WHO started, unless containers still run on it. One that a process
#                               of another PID started counts as ours when that process is gone

docker_answers() { timeout 10 docker info >/dev/null 2>&1; }

docker_ensure() {
  ! docker_answers || return 0
  command -v dockerd >/dev/null || packages_ensure docker.io
  # newer Debian has the client in a package of its own
  command -v docker >/dev/null || packages_ensure docker-cli
  # the package may have started it
  ! docker_answers || return 0
  locked dockerd docker_start "$1"
}

docker_start() {
  ! docker_answers || return 0
  docker_forget_the_dead
  command -v ip >/dev/null || packages_ensure iproute2
  say "starting dockerd (log: $STATE/dockerd.log)"
  docker_config >"$STATE/dockerd.json"
  setsid dockerd --config-file "$STATE/dockerd.json" >"$STATE/dockerd.log" 2>&1 </dev/null &
  printf '%s\n' "$1" >"$STATE/dockerd.started-by"
  local try
  for try in $(seq 100); do
    ! docker_answers || return 0
    sleep 0.3
  done
  tail -n 15 "$STATE/dockerd.log" >&2
  die "dockerd did not answer after $try tries" -- "less $STATE/dockerd.log"
}

# A killed daemon leaves its pid file behind. The next one would take any process with that pid, or a zombie, for a
# running daemon.
docker_forget_the_dead() {
  docker_lives dockerd "$STATE/dockerd.pid" || rm -f "$STATE/dockerd.pid"
  docker_lives containerd "$STATE/docker/containerd/containerd.pid" || rm -f "$STATE/docker/containerd/containerd.pid"
}

# docker_lives NAME PIDFILE: whether the process of that pid file is a living one of that name
docker_lives() {
  local pid
  pid=$(cat "$2" 2>/dev/null) || return 1
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$1" ] && ! grep -q '^State:.Z' "/proc/$pid/status"
}

# All options are in a file of our own: a file in /etc/docker would conflict with options on the command line.
docker_config() {
  printf '{"data-root": "%s", "exec-root": "%s", "pidfile": "%s", "mtu": %d}\n' \
    "$CACHE/docker" "$STATE/docker" "$STATE/dockerd.pid" "$(docker_mtu)"
}

# The MTU of the default route: with 1500 over a smaller uplink, downloads hang.
docker_mtu() {
  local device
  device=$(ip -o route show default | sed -nE '1s/.* dev ([^ ]+).*/\1/p')
  awk '{ print ($1 > 1500 ? 1500 : $1) }' "/sys/class/net/${device:-lo}/mtu"
}

docker_stop_started_by() {
  local who pid left
  who=$(cat "$STATE/dockerd.started-by" 2>/dev/null) || return 0
  [ "${who%.*}" = "${1%.*}" ] || return 0
  [ "$who" = "$1" ] || [ ! -d "/proc/${who##*.}" ] || return 0
  pid=$(cat "$STATE/dockerd.pid" 2>/dev/null) || return 0
  left=$(docker ps -q | wc -l)
  if [ "$left" -gt 0 ]; then
    say "dockerd stays: $left containers of somebody else run on it"
    return 0
  fi
  docker_lives dockerd "$STATE/dockerd.pid" || return 0
  say "stopping the dockerd we started (pid $pid)"
  kill "$pid"
  while docker_lives dockerd "$STATE/dockerd.pid"; do sleep 0.2; done
  rm -f "$STATE"/dockerd.{started-by,json}
}
