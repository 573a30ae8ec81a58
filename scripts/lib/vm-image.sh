# shellcheck shell=bash
# vm-image.sh: the disk of a virtual machine and the saved state of one that has booted from it: Debian with its own
# kernel, systemd, sshd, ufw switched on and a Docker that runs, made from this machine's own mirror. It has what any
# server has, and nothing the product installs: no wireguard-tools, and the kernel's module is not loaded.
# Cached by a hash of its recipe (this file, its scripts in vm/, the hardware, our key, qemu's version): a second run costs nothing.
# usage: source scripts/lib/{say,packages,host-image,vm,vms,vm-image}.sh
#   vm_image_ensure [SUITE]   prints the directory of its kernels, disk.qcow2 (on root.img) and state; bookworm by default,
#                             also bullseye

vm_image_ensure() {
  local suite=${1:-bookworm} recipe image
  vm_ensure
  recipe=$({
    cat "$REPO"/scripts/lib/vm-image.sh "$REPO"/scripts/lib/vm/{initramfs,customize,settle} "$(host_key).pub"
    declare -f vm_start
    qemu-system-x86_64 --version
  } | sha256sum | cut -c1-12)
  image=$CACHE/vm-$suite-$recipe
  [ -d "$image" ] || locked "vm-image-$suite" vm_image_make "$suite" "$image" >&2
  printf '%s\n' "$image"
}

vm_image_packages() {
  printf '%s\n' initramfs-tools lz4 e2fsprogs systemd systemd-sysv dbus udev kmod \
    openssh-server openssh-client ca-certificates cron less iproute2 iputils-ping procps python3-minimal strace \
    ufw nftables iptables apparmor docker.io docker-compose
  case $1 in
    # Its last kernel, and the one before, to go from the one to the other; that suite changes no more. A compiler and
    # most of what dkms needs: unpacking all that would take an emulated processor minutes.
    bullseye)
      printf '%s\n' linux-image-5.10.0-{30,32}-cloud-amd64 linux-headers-5.10.0-32-common linux-kbuild-5.10 \
        linux-compiler-gcc-10-x86 gcc make libc6-dev dpkg-dev patch dctrl-tools lsb-release
      ;;
    *) printf '%s\n' linux-image-cloud-amd64 ;;
  esac
}

vm_image_make() {
  local suite=$1 image=$2 new old
  [ ! -d "$image" ] || return 0
  packages_ensure mmdebstrap debian-archive-keyring e2fsprogs
  new=$CACHE/vm-new-$suite
  # a failed attempt leaves nothing behind; the remains of a killed one are removed now
  # shellcheck disable=SC2064 # as it is now
  trap "vm_image_clear $suite" EXIT
  trap 'exit 143' INT TERM
  vm_image_clear "$suite"
  mkdir "$new"
  say "making the disk of a virtual machine with $suite (a minute, once)"
  vm_image_root "$suite" "$new"
  say "booting it, to save the state of a machine that is up (two minutes, once)"
  vm_image_boot "$suite" "$new"
  vms_down "vm-image-$suite"
  # An older image is kept while a machine runs on it; the next run removes it.
  for old in "$CACHE/vm-$suite"-*; do
    [ ! -d "$old" ] || readlink -f "$STATE"/vms/*/image | grep -qx "$old" || rm -rf "$old"
  done
  mv "$new" "$image"
  trap - EXIT INT TERM
  say "made $image ($(du -sh "$image" | cut -f1))"
}

vm_image_clear() {
  vms_down "vm-image-$1"
  rm -rf --one-file-system "$CACHE/vm-new-$1"
}

vm_image_root() {
  local suite=$1 new=$2 mirror security proxy
  mirror=$(packages_mirror)
  local sources=("deb $mirror $suite main")
  security=$(packages_security_mirror)
  # bullseye's security suite names a kernel that is no longer there
  [ -z "$security" ] || [ "$suite" = bullseye ] || sources+=("deb $security $suite-security main")
  proxy=$(packages_proxy)
  # apt's lists stay, as on any host that has been updated once; documentation goes: half of the files.
  quietly mmdebstrap --mode=root --variant=minbase --format=directory --skip=cleanup/apt/lists \
    --include="$(vm_image_packages "$suite" | paste -sd,)" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    ${proxy:+--aptopt="Acquire::http::Proxy \"$proxy\""} \
    --setup-hook="'$REPO/scripts/lib/vm/initramfs' \"\$1\"" \
    --customize-hook="'$REPO/scripts/lib/vm/customize' \"\$1\" '$(host_key).pub'" \
    "$suite" "$new/root" "${sources[@]}" || die "cannot make the disk of a virtual machine"
  cp "$new"/root/boot/{vmlinuz,initrd.img}-* "$new"
  # shellcheck disable=SC2012 # no name in /boot is a strange one
  ls "$new/root/boot" | vm_newest_kernel >"$new/kernel"
  truncate -s 6G "$new/root.img"
  quietly mkfs.ext4 -F -E lazy_itable_init=1,lazy_journal_init=1 -d "$new/root" "$new/root.img"
  rm -rf --one-file-system "$new/root"
}

vm_image_boot() {
  local new=$2 vm=vm-image-$1-0 home try
  # relative: the directory gets its name when all is done
  ( cd "$new" && quietly qemu-img create -f qcow2 -F raw -b root.img disk.qcow2 )
  home=$(vm_home "$vm")
  mkdir -p "$home"
  ln -s "$new" "$home/image"
  ln -s "$new/disk.qcow2" "$home/0.disk"
  locked vms vms_lan_take "$home"
  vm_boot "$vm"
  quietly vm_image_settle "$vm" || die "the virtual machine does not become what it should"
  # The saved state is what tests resume.
  vm_monitor "$vm" 'migrate_set_parameter max-bandwidth 10G'
  vm_monitor "$vm" "migrate -d \"exec:cat >'$new/state'\""
  for try in $(seq 300); do
    case $(vm_monitor "$vm" 'info migrate') in
      *'status: completed'*) return 0 ;;
      *'status: failed'*) break ;;
    esac
    sleep 0.5
  done
  die "the machine's state cannot be saved (after $try looks)"
}

vm_image_settle() { vm_ssh "$1" sh -eux -s <"$REPO/scripts/lib/vm/settle"; }
