# shellcheck shell=bash
# namespaces.sh: namespace hosts, up to 240 of them, for what is about many: each has a network, mounts, processes and a
# name of its own, a disk in memory, and a real sshd at an address this machine reaches. 50 take seconds.
# What is real: files, ssh, sudo, the network, WireGuard (wireguard-go). What is not: there is no systemd, and Docker is
# a simulation (namespace/docker) that runs the real gateway.
# usage: source scripts/lib/{say,packages,rust,host-image,namespace-root,namespaces}.sh
#   namespaces_up NAME N PROGRAM   makes them and waits until sshd of each runs; PROGRAM is their gateway's executable
#   namespaces_down NAME           removes them; quiet if there are none
#   namespaces_down_all PREFIX     removes all hosts whose NAME begins so
#   namespaces_list NAME           prints "NAME-1 ADDRESS", one a line
#   namespace_enter HOST COMMAND…  runs a command on a host, as root, not by way of ssh
#   namespace_kill HOST            ends every process of it at once; its disk stays
#   namespace_boot HOST            starts it again
#   namespace_cut HOST             takes its network away; what is sent to it is lost, and nobody says so
#   namespace_plug HOST            gives it back
# All of a set lies in $STATE/namespaces/NAME: ssh_config and known_hosts for whoever operates them, and for host n
# n/disk/up with every file it has written, n/run, its /run, and n/pid, its first process.

NAMESPACE_SCRIPTS=$REPO/scripts/lib/namespace
# The gateway of every host, its only neighbour.
NAMESPACE_ROUTER=169.254.0.1
# The environment of a host's processes.
NAMESPACE_ENV=(env -i container=namespace HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin)

namespaces_dir() { printf '%s/namespaces/%s\n' "$STATE" "$1"; }

namespaces_up() {
  local name=$1 count=$2 program=$3 dir root net n
  case $count in *[!0-9]* | '') count=0 ;; esac
  if [ "$count" -lt 1 ] || [ "$count" -gt 240 ]; then die "'$2' hosts: a set has 1 to 240"; fi
  [ -e /dev/net/tun ] || modprobe tun 2>/dev/null || die "/dev/net/tun is missing on this machine" -- "modprobe tun"
  dir=$(namespaces_dir "$name")
  [ ! -e "$dir" ] || die "$name is up already" -- "scripts/namespaces down $name"
  root=$(namespace_root_ensure)
  mkdir -p "$dir"
  mount -t tmpfs -o mode=755,size=4g namespaces "$dir"
  mount --make-private "$dir"
  printf '%s\n' "$dir/layer:$root" >"$dir/lower"
  net=$(locked namespaces-network namespaces_network "$name")
  printf '%s\n' "$net" >"$dir/net"
  say "starting $count hosts: $name-1 … $name-$count on $net.0/24"
  locked namespaces-watches namespaces_watches "$count"
  namespaces_layer "$dir" "$root"
  install -D -m 755 "$program" "$dir/bin/mitigator-vpn"
  ln -s mitigator-vpn "$dir/bin/reconfigure"
  namespaces_wire "$name" "$count" "$net"
  for n in $(seq "$count"); do namespace_disk "$dir/$n" "$name-$n"; done
  for n in $(seq "$count"); do namespace_start "$name" "$n"; done
  setsid python3 -IS "$NAMESPACE_SCRIPTS/docker" serve "$dir" </dev/null >"$dir/docker.log" 2>&1 &
  printf '%s\n' $! >"$dir/docker.pid"
  namespaces_ssh "$name" "$count" "$net"
  for n in $(seq "$count"); do namespace_wait "$dir/$n"; done
}

# Each wireguard-go needs an inotify instance, and root has 128 by default. The limit is restored with the last set.
namespaces_watches() {
  local limit=/proc/sys/fs/inotify/max_user_instances was
  was=$(cat "$limit")
  [ -e "$STATE/inotify-instances" ] || printf '%s\n' "$was" >"$STATE/inotify-instances"
  printf '%s\n' "$((was + $1))" >"$limit"
}

namespaces_watches_back() {
  local saved=$STATE/inotify-instances
  [ -e "$saved" ] || return 0
  ! ls "$STATE"/namespaces/*/net >/dev/null 2>&1 || return 0
  cat "$saved" >/proc/sys/fs/inotify/max_user_instances
  rm -f "$saved"
}

# --- the network -------------------------------------------------------------------------------------------------

# Makes the router, with the first free network out of a pool behind it; prints that as its first three numbers. The
# router is a namespace of its own: the firewall of this machine, Docker's rules above all, is not between the hosts.
namespaces_network() {
  local name=$1 third net
  for third in $(seq 0 63); do
    net=10.96.$third
    [ -n "$(ip -o route show root "$net.0/24")" ] || break
  done
  [ -z "$(ip -o route show root "$net.0/24")" ] || die "no network is free for $name" -- "ls $STATE/namespaces"
  ip netns add "$name-router"
  ip link add "mvns$third" type veth peer name uplink netns "$name-router"
  ip addr add "$net.253/30" dev "mvns$third"
  ip link set "mvns$third" up
  ip -n "$name-router" -batch - <<END
link set lo up
addr add $NAMESPACE_ROUTER/32 dev lo
addr add $net.254/30 dev uplink
link set uplink up
END
  ip netns exec "$name-router" sysctl -qw net.ipv4.ip_forward=1
  ip route add "$net.0/24" via "$net.254"
  printf '%s\n' "$net"
}

# Routed and not bridged: each host knows one neighbour and not all the others, so the kernel's table of neighbours,
# one for all namespaces together, holds 200 hosts as well.
namespaces_wire() {
  local name=$1 count=$2 net=$3 n
  for n in $(seq "$count"); do printf 'netns add %s-%d\n' "$name" "$n"; done | ip -batch -
  for n in $(seq "$count"); do
    printf 'link add h%d type veth peer name eth0 netns %s-%d\nlink set h%d up\nroute add %s.%d dev h%d\n' \
      "$n" "$name" "$n" "$n" "$net" "$n" "$n"
  done | ip -n "$name-router" -batch -
  for n in $(seq "$count"); do namespace_plug "$name-$n"; done
}

namespace_plug() {
  ip -n "$1" -batch - <<END
link set lo up
addr replace $(cat "$(namespaces_dir "${1%-*}")/net").${1##*-}/32 dev eth0
link set eth0 up
route replace $NAMESPACE_ROUTER dev eth0
route replace default via $NAMESPACE_ROUTER
END
}

namespace_cut() { ip -n "$1" link set eth0 down; }

# --- what is in a host -------------------------------------------------------------------------------------------

# The layer between the Debian root and each host's disk: keys and configuration, made for each set.
namespaces_layer() {
  local dir=$1 root=$2 layer=$1/layer key home
  key=$(host_key)
  mkdir -p "$layer"/{etc/ssh,etc/sudoers.d,usr/bin,dev/pts,dev/shm,dev/net,opt/mitigator-vpn,srv/mitigator,root/.ssh}
  mkdir -p "$layer/home/operator/.ssh"

  ssh-keygen -q -t ed25519 -N '' -C host -f "$layer/etc/ssh/ssh_host_ed25519_key"
  # without PAM: a login takes half of the time
  printf '%s\n' 'PermitRootLogin prohibit-password' 'UsePAM no' 'UseDNS no' 'MaxStartups 200:30:400' \
    'PasswordAuthentication no' 'Subsystem sftp internal-sftp' >"$layer/etc/ssh/sshd_config"

  # An operator who is not root, with sudo. The password `*` allows a login by key; a locked account wouldn't.
  cp -p "$root"/etc/{passwd,shadow,group} "$layer/etc/"
  printf 'operator:x:1000:1000::/home/operator:/bin/sh\n' >>"$layer/etc/passwd"
  printf 'operator:*:19000:0:99999:7:::\n' >>"$layer/etc/shadow"
  printf 'operator:x:1000:\n' >>"$layer/etc/group"
  printf 'operator ALL=(ALL) NOPASSWD: ALL\n' >"$layer/etc/sudoers.d/operator"
  chmod 440 "$layer/etc/sudoers.d/operator"
  for home in root home/operator; do
    install -m 600 "$key.pub" "$layer/$home/.ssh/authorized_keys"
    chmod 700 "$layer/$home" "$layer/$home/.ssh"
  done
  chown -R 1000:1000 "$layer/home/operator"

  install -m 755 "$NAMESPACE_SCRIPTS/docker" "$layer/usr/bin/docker"
  ln "$layer/usr/bin/docker" "$layer/usr/bin/docker-compose"
  cat >"$layer/srv/mitigator/docker-compose.yml" <<'END'
# In place of the vendor's.
version: "2.2"
services:
  gateway:
    image: vendor/gateway:21
    network_mode: host
    cap_add:
    - NET_ADMIN
    devices:
    - /dev/net/tun
    restart: unless-stopped
END

  mknod -m 666 "$layer/dev/null" c 1 3
  mknod -m 666 "$layer/dev/zero" c 1 5
  mknod -m 666 "$layer/dev/full" c 1 7
  mknod -m 666 "$layer/dev/random" c 1 8
  mknod -m 666 "$layer/dev/urandom" c 1 9
  mknod -m 666 "$layer/dev/tty" c 5 0
  mknod -m 666 "$layer/dev/net/tun" c 10 200
  ln -s pts/ptmx "$layer/dev/ptmx"
  ln -s /proc/self/fd "$layer/dev/fd"
}

# namespace_disk DIR HOST: a disk of its own, so that it can be filled. It stays when the host is down.
namespace_disk() {
  mkdir -p "$1"/{disk,run,root}
  mount -t tmpfs -o mode=755,size=96m disk "$1/disk"
  mkdir -p "$1"/disk/{up/etc,work}
  printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$2" >"$1/disk/up/etc/hosts"
}

# --- up and down -------------------------------------------------------------------------------------------------

namespace_start() {
  local name=$1 n=$2 dir
  dir=$(namespaces_dir "$name")
  "${NAMESPACE_ENV[@]}" nsenter --net="/run/netns/$name-$n" unshare --mount --uts --pid --fork --kill-child \
    "$NAMESPACE_SCRIPTS/init" "$dir/$n" "$(cat "$dir/lower")" "$name-$n" </dev/null >"$dir/$n/log" 2>&1 &
}

namespace_wait() {
  local try
  for try in $(seq 300); do
    [ ! -e "$1/run/ready" ] || return 0
    sleep 0.05
  done
  cat "$1/log" >&2
  die "the namespace host in $1 is not up after $try tries"
}

namespaces_ssh() {
  local name=$1 count=$2 net=$3 dir key n
  dir=$(namespaces_dir "$name")
  key=$(host_key)
  {
    for n in $(seq "$count"); do printf 'Host %s-%d\n  HostName %s.%d\n' "$name" "$n" "$net" "$n"; done
    printf 'Host *\n  User root\n  IdentityFile %s\n  IdentitiesOnly yes\n' "$key"
    printf '  StrictHostKeyChecking yes\n  UserKnownHostsFile %s\n  LogLevel ERROR\n  BatchMode yes\n  ConnectTimeout 5\n' \
      "$dir/known_hosts"
  } >"$dir/ssh_config"
  key=$(cut -d' ' -f1,2 "$dir/layer/etc/ssh/ssh_host_ed25519_key.pub")
  for n in $(seq "$count"); do printf '%s.%d %s\n' "$net" "$n" "$key"; done >"$dir/known_hosts"
}

# namespace_of HOST: its directory
namespace_of() { printf '%s/%s\n' "$(namespaces_dir "${1%-*}")" "${1##*-}"; }

# The pid of a host's first process, if it is one of that host: pids are given again.
namespace_pid() {
  local pid
  pid=$(cat "$(namespace_of "$1")/pid" 2>/dev/null) && [ "/proc/$pid/ns/net" -ef "/run/netns/$1" ] && printf '%s\n' "$pid"
}

namespace_enter() {
  local pid
  pid=$(namespace_pid "$1") || die "$1 is not up" -- "scripts/namespaces boot $1"
  nsenter --target "$pid" --mount --uts --pid --net -- env --chdir=/root "${NAMESPACE_ENV[@]}" "${@:2}"
}

namespace_kill() {
  local pid
  ! pid=$(namespace_pid "$1") || kill -KILL "$pid"
}

namespace_boot() {
  local name=${1%-*} n=${1##*-} dir
  dir=$(namespaces_dir "$name")
  while namespace_pid "$1" >/dev/null; do sleep 0.05; done
  rm -f "$dir/$n/run/ready"
  namespace_start "$name" "$n"
  namespace_wait "$dir/$n"
}

namespaces_list() {
  local dir n
  dir=$(namespaces_dir "$1")
  [ -d "$dir" ] || return 0
  for n in $(namespaces_numbers "$dir"); do printf '%s-%d %s.%d\n' "$1" "$n" "$(cat "$dir/net")" "$n"; done
}

namespaces_numbers() { find "$1" -mindepth 1 -maxdepth 1 -name '[0-9]*' -printf '%f\n' | sort -n; }

namespaces_down() {
  local name=$1 dir n pid
  dir=$(namespaces_dir "$name")
  [ -d "$dir" ] || return 0
  for n in $(namespaces_numbers "$dir"); do namespace_kill "$name-$n"; done
  pid=$(cat "$dir/docker.pid" 2>/dev/null) || pid=
  if [ -n "$pid" ] && grep -qzF "$dir" "/proc/$pid/cmdline" 2>/dev/null; then kill "$pid"; fi
  ip netns list | awk -v name="$name-" 'index($1, name) == 1 && substr($1, length(name) + 1) ~ /^([0-9]+|router)$/ { print "netns del", $1 }' |
    ip -batch -
  # a host's own namespaces hold its disk until its last process is gone
  for n in $(namespaces_numbers "$dir"); do umount -l "$dir/$n/disk" 2>/dev/null || true; done
  umount -l "$dir" 2>/dev/null || true
  rmdir "$dir"
  locked namespaces-watches namespaces_watches_back
}

# Everything whose NAME begins with this, for whoever made sets of hosts under one prefix.
namespaces_down_all() {
  local dir
  for dir in "$STATE/namespaces/$1"*; do [ ! -d "$dir" ] || namespaces_down "${dir##*/}"; done
}
