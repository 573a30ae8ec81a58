# shellcheck shell=bash
# vms.sh: sets of virtual machines on a network of their own: NAME-1 at 10.97.0.1, NAME-2 at 10.97.0.2, and so on. Each
# resumes the saved state of vm-image.sh and gets an identity of its own. Unlike a container host it has a kernel:
# modules, boots, and a disk that keeps only flushed data over a power cut.
# usage: source scripts/lib/{say,packages,host-image,vm,vm-image,vms}.sh
#   vms_up NAME N [SUITE]     makes them and waits until each answers; bookworm by default
#   vms_down NAME             removes them with their disks; quiet if there are none
#   vms_down_all PREFIX       removes all machines whose NAME begins so
#   vms_list NAME             prints "NAME-1 ADDRESS", one a line

# shellcheck disable=SC2153 # CACHE and STATE are say.sh's
vms_disks() { printf '%s/vms/%s\n' "$CACHE" "$1"; }

vms_up() {
  local name=$1 count=$2 image home disks n pid pids=() failed=
  image=$(vm_image_ensure "${3:-bookworm}")
  home=$(vm_home "$name-0") disks=$(vms_disks "$name")
  [ ! -e "$home" ] || die "there are machines of that name" -- "scripts/vms down $name"
  mkdir -p "$home" "$disks"
  ln -s "$image" "$home/image"
  locked vms vms_lan_take "$home"
  say "starting $count virtual machines: $name-1 … $name-$count"
  for n in $(seq "$count"); do
    quietly qemu-img create -f qcow2 -F qcow2 -b "$image/disk.qcow2" "$disks/$n.qcow2"
    ln -s "$disks/$n.qcow2" "$home/$n.disk"
    vm_resume "$name-$n"
  done
  for n in $(seq "$count"); do vms_make_one "$name-$n" & pids+=($!); done
  for pid in "${pids[@]}"; do wait "$pid" || failed=yes; done
  [ -z "$failed" ] || die "not all of the machines answer" -- "scripts/vms down $name"
}

# The first free multicast port: packets to it reach the machines of this set alone.
vms_lan_take() {
  local port=23450 taken
  taken=$(cat "$STATE"/vms/*/lan 2>/dev/null) || true
  while grep -qx "$port" <<<"$taken"; do port=$((port + 1)); done
  printf '%s\n' "$port" >"$1/lan"
}

# Resumed machines are identical: here each gets its own name, address, time and random seed.
vms_make_one() {
  vm_connect "$1"
  vm_ssh "$1" sh -eu -s -- "$1" "$(vm_number "$1")" "$(date +%s)" "$(head -c 32 /dev/urandom | base64 -w 0)" \
    <"$REPO/scripts/lib/vm/become" || die "$1 does not become itself"
}

vms_list() {
  local disk n
  for disk in "$(vm_home "$1-0")"/*.disk; do
    [ -e "$disk" ] || continue
    n=$(basename "$disk" .disk)
    printf '%s-%d 10.97.0.%d\n' "$1" "$n" "$n"
  done
}

vms_down() {
  local vm
  vms_list "$1" | while read -r vm _; do vm_cut "$vm"; done
  rm -rf "$(vm_home "$1-0")" "$(vms_disks "$1")"
}

vms_down_all() {
  local home
  for home in "$STATE/vms/$1"* "$CACHE/vms/$1"*; do [ ! -e "$home" ] || vms_down "${home##*/}"; done
}
