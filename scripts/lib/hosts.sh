# shellcheck shell=bash
# hosts.sh: container hosts, up to 200 of them on a network of their own: NAME-1 at ….11, NAME-2 at ….12, and so on.
# Each runs systemd, sshd and its own dockerd; what a container lacks is a kernel module.
# usage: source scripts/lib/{say,packages,docker,host-image,compose-v2,hosts}.sh
#   hosts_up NAME N [SUITES]    makes them and waits until systemd, sshd and dockerd of each answer; SUITES is one for
#                               all of them, or one for each: bookworm,trixie,bullseye
#   hosts_down NAME             removes them with their volumes and network; quiet if there are none
#   hosts_down_all PREFIX       removes all hosts whose NAME begins so
#   hosts_list NAME             prints "NAME-1 ADDRESS", one a line
#   host_ssh HOST COMMAND…      runs a command on a host, as root; stdin goes with it
#   host_copy FILE HOST:PATH    copies a file, either way
#   host_use_compose HOST v1|v2|v2-plugin    both spellings of v2, or only `docker compose` as Docker's own packages
# The hosts' ssh configuration is $STATE/hosts/NAME.ssh_config, for whoever wants plain ssh.

# shellcheck disable=SC2153 # STATE is say.sh's
# Everything of ours carries this label, so that `down` finds exactly that.
HOSTS_LABEL=mitigator-vpn-testbed

hosts_up() {
  local name=$1 count=$2 suites suite compose net n
  local -A images
  IFS=, read -ra suites <<<"${3:-bookworm}"
  [ -e /dev/net/tun ] || modprobe tun 2>/dev/null || die "/dev/net/tun is missing on this machine" -- "modprobe tun"
  for suite in "${suites[@]}"; do images[$suite]=$(host_image_ensure "$suite"); done
  compose=$(compose_v2_ensure)
  net=$(hosts_network_create "$name")
  say "starting $count hosts: $name-1 … $name-$count on $net.0/24"
  hosts_ssh_config "$name" "$net" "$count"
  for n in $(seq "$count"); do
    suite=${suites[(n - 1) % ${#suites[@]}]}
    host_run "$name" "$n" "$net.$((10 + n))" "${images[$suite]}" "$compose"
  done
  for n in $(seq "$count"); do host_wait "$name-$n"; done
}

# The first free network out of a pool, printed as its first three numbers: several sets of hosts may be up at once.
hosts_network_create() {
  local third net error=
  for third in $(seq 0 63); do
    net=10.98.$third
    if error=$(docker network create --label "$HOSTS_LABEL=$1" --subnet "$net.0/24" \
      --opt "com.docker.network.driver.mtu=$(docker_mtu)" "$1" 2>&1); then
      printf '%s\n' "$net"
      return
    fi
    # only "pool overlaps" is worth a try with another number
    case $error in *overlap*) ;; *) break ;; esac
  done
  die "cannot create the network $1: $error" -- "scripts/hosts down $1"
}

host_run() {
  local name=$1 n=$2 address=$3 image=$4 compose=$5 options
  # --privileged would be simpler, but not every machine has all the capabilities to give.
  mapfile -t options <"$REPO/scripts/lib/container-options"
  docker run -d --name "$name-$n" --hostname "$name-$n" --label "$HOSTS_LABEL=$name" \
    --net "$name" --ip "$address" "${options[@]}" \
    -v "$compose:/opt/compose-v2:ro" -e "NAMESERVERS=$(hosts_nameservers)" "$image" >/dev/null
}

# The servers a container can reach: not a stub on this machine's loopback.
hosts_nameservers() {
  local file
  for file in /etc/resolv.conf /run/systemd/resolve/resolv.conf; do
    [ ! -r "$file" ] || sed -nE '/^nameserver[ \t]+127\./d; s/^nameserver[ \t]+([0-9.]+)[ \t]*$/\1/p' "$file"
  done | sort -u | paste -sd' '
}

host_wait() {
  local host=$1 try state=
  for try in $(seq 150); do
    state=$(timeout 10 docker exec "$host" systemctl is-system-running 2>/dev/null) || true
    # `degraded` is up as well: some unit or other always fails in a container
    case $state in
      running | degraded) ! host_ssh "$host" docker info >/dev/null 2>&1 || return 0 ;;
    esac
    sleep 0.4
  done
  docker exec "$host" systemctl --failed --no-pager >&2 || docker logs --tail 20 "$host" >&2 || true
  die "$host is not up after $try tries (systemd: ${state:-no answer})" -- "docker exec -it $host journalctl -b"
}

hosts_ssh_config() {
  local name=$1 net=$2 count=$3 n key
  key=$(host_key)
  mkdir -p "$STATE/hosts"
  {
    for n in $(seq "$count"); do printf 'Host %s-%d\n  HostName %s.%d\n' "$name" "$n" "$net" "$((10 + n))"; done
    printf 'Host *\n  User root\n  IdentityFile %s\n  IdentitiesOnly yes\n' "$key"
    # the hosts are made anew every time, and so are their keys
    printf '  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n  BatchMode yes\n  ConnectTimeout 5\n'
  } >"$STATE/hosts/$name.ssh_config"
}

host_ssh_config() { printf '%s/hosts/%s.ssh_config\n' "$STATE" "${1%-*}"; }
host_ssh() { ssh -F "$(host_ssh_config "$1")" "$@"; }
host_copy() {
  local host
  case $1 in *:*) host=${1%%:*} ;; *) host=${2%%:*} ;; esac
  scp -q -F "$(host_ssh_config "$host")" "$1" "$2"
}

hosts_list() {
  docker ps -q --filter "label=$HOSTS_LABEL=$1" | xargs -r docker inspect \
    --format '{{slice .Name 1}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}' | sort -V
}

hosts_down() {
  docker_answers || return 0
  docker ps -aq --filter "label=$HOSTS_LABEL=$1" | xargs -r docker rm -fv >/dev/null
  docker network ls -q --filter "label=$HOSTS_LABEL=$1" | xargs -r docker network rm >/dev/null
  rm -f "$STATE/hosts/$1.ssh_config"
}

# Everything whose NAME begins with this, for whoever made sets of hosts under one prefix.
hosts_down_all() {
  docker_answers || return 0
  local format="{{.Label \"$HOSTS_LABEL\"}}" name
  { docker ps -a --filter "label=$HOSTS_LABEL" --format "$format"
    docker network ls --filter "label=$HOSTS_LABEL" --format "$format"; } | sort -u |
    while read -r name; do case $name in "$1"*) hosts_down "$name" ;; esac; done
}

host_use_compose() {
  local host=$1 version=$2 wanted
  local ours=/opt/compose-v2/docker-compose own=/usr/bin/docker-compose
  local command=/usr/local/bin/docker-compose plugin=/usr/local/lib/docker/cli-plugins/docker-compose
  # back to what the release brings, then what is asked for
  local steps="if test -e $own.away; then mv $own.away $own; fi; rm -f $command $plugin; mkdir -p ${plugin%/*}"
  case $version in
    v1) wanted='docker-compose version --short | grep -q ^1' ;;
    v2) steps+="; ln -s $ours $command; ln -s $ours $plugin"; wanted='docker-compose version && docker compose version' ;;
    v2-plugin) steps+="; mv $own $own.away; ln -s $ours $plugin"; wanted='docker compose version' ;;
    *) die "no such compose: $version" -- "v1, v2 or v2-plugin" ;;
  esac
  # Neither generation runs everywhere: trixie has no v1, and trixie's v2 is too new for bullseye's C library.
  host_ssh "$host" "$steps; { $wanted; } >/dev/null 2>&1" || die "compose $version does not run on $host"
}
