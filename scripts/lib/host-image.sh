# shellcheck shell=bash
# host-image.sh: the image of a *host*: Debian with systemd, sshd, apt, firewalls and its own Docker, made from
# this machine's own mirror, without a registry. It has what any server has, and nothing the product installs:
# no wireguard-tools. Cached by a hash of its recipe (this file, host/ and our key): a second run costs nothing.
# usage: source scripts/lib/{say,packages,docker,host-image}.sh
#   host_image_ensure [SUITE]   prints the image's name; bookworm by default, also bullseye and trixie. The same one is
#                               HOST_IMAGE:SUITE, for vagrant/, which can't know the recipe
#   host_key                    prints the path of the private key that every such host lets in as root

HOST_IMAGE=mitigator-vpn-testbed/host

host_key() {
  local key=$CACHE/ssh/id_ed25519
  [ -f "$key" ] || locked key host_key_make "$key"
  printf '%s\n' "$key"
}

host_key_make() {
  [ ! -f "$1" ] || return 0
  command -v ssh-keygen >/dev/null || packages_ensure openssh-client
  mkdir -p "${1%/*}"
  ssh-keygen -q -t ed25519 -N '' -C mitigator-vpn-testbed -f "$1"
}

host_image_ensure() {
  local suite=${1:-bookworm} key recipe image
  key=$(host_key)
  recipe=$(cat "$REPO"/scripts/lib/host-image.sh "$REPO"/scripts/lib/host/* "$key.pub" | sha256sum | cut -c1-12)
  image=$HOST_IMAGE:$suite-$recipe
  host_image_exists "$image" || locked "image-$suite" host_image_make "$suite" "$image" "$key.pub" >&2
  printf '%s\n' "$image"
}

host_image_exists() { docker image inspect "$1" >/dev/null 2>&1; }

host_image_packages() {
  printf '%s\n' systemd systemd-sysv dbus udev openssh-server openssh-client ca-certificates cron less \
    iproute2 iputils-ping procps kmod python3-minimal strace ufw nftables iptables docker.io docker-compose
  # the Docker client left docker.io after bookworm
  case $1 in bullseye | bookworm) ;; *) printf '%s\n' docker-cli ;; esac
}

host_image_make() {
  local suite=$1 image=$2 key=$3 mirror security proxy tar old
  ! host_image_exists "$image" || return 0
  packages_ensure mmdebstrap debian-archive-keyring
  mirror=$(packages_mirror)
  local sources=("deb $mirror $suite main")
  security=$(packages_security_mirror)
  # bullseye's security suite names packages that are no longer there
  [ -z "$security" ] || [ "$suite" = bullseye ] || sources+=("deb $security $suite-security main")
  proxy=$(packages_proxy)
  say "making the image of a $suite host (a minute or two, once)"

  tar=$(mktemp --tmpdir="$CACHE" host-XXXXXX.tar)
  # apt's lists stay, as on any host that has been updated once; documentation goes: half of the files.
  quietly mmdebstrap --mode=root --variant=minbase --format=tar --skip=cleanup/apt/lists \
    --include="$(host_image_packages "$suite" | paste -sd,)" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    ${proxy:+--aptopt="Acquire::http::Proxy \"$proxy\""} \
    --customize-hook="'$REPO/scripts/lib/host/customize' \"\$1\" '$key'" \
    "$suite" "$tar" "${sources[@]}" || { rm -f "$tar"; die "cannot make the image of a $suite host"; }
  docker import --change 'VOLUME /var/lib/docker' --change 'ENV container=docker' \
    --change 'CMD ["/sbin/container-init"]' "$tar" "$image" >/dev/null
  docker tag "$image" "$HOST_IMAGE:$suite"
  rm -f "$tar"

  # Images of older recipes are removed. One in use can't be removed yet; the next run does it.
  for old in $(docker image ls --format '{{.Repository}}:{{.Tag}}' "$HOST_IMAGE" | grep ":$suite-"); do
    [ "$old" = "$image" ] || docker image rm "$old" >/dev/null 2>&1 || true
  done
}
