# shellcheck shell=bash
# vm.sh: one virtual machine. It is emulated (qemu without KVM), so that it runs anywhere and its saved state can be
# resumed on any processor. Its kernel is Debian's own.
# usage: source scripts/lib/{say,packages,host-image,vm}.sh
#   vm_ensure                installs what is needed to run them
#   vm_start VM [OPTION…]    starts VM = NAME-n, with more options for qemu
#   vm_resume VM             resumes the saved state of its image
#   vm_connect VM            waits until its sshd answers
#   vm_settle VM             waits until everything in it has started
#   vm_ssh VM COMMAND…       runs a command there, as root, over the shared connection; stdin is passed on
#   vm_monitor VM COMMAND    runs a command in qemu's monitor
#   vm_reboot VM             reboots it into its newest kernel, and waits until it is up again
#   vm_cut VM                cuts its power: data that was not flushed is lost
#   vm_boot VM [KERNEL]      boots it after that, and waits until it is up
# Its files are in $STATE/vms/NAME: `image`, `lan` and `n.disk` must be there before it starts (vm-image.sh, vms.sh);
# n.console, n.pcap (the traffic on eth1) and others are there afterwards.

# shellcheck disable=SC2153 # STATE is say.sh's
vm_home() { printf '%s/vms/%s\n' "$STATE" "${1%-*}"; }
vm_number() { printf '%s\n' "${1##*-}"; }
# The common prefix of its files.
vm_file() { printf '%s/%s\n' "$(vm_home "$1")" "$(vm_number "$1")"; }
vm_is_there() { [ -e "$(vm_file "$1").disk" ] || die "there is no virtual machine $1" -- "scripts/vms up ${1%-*} 1"; }

vm_ensure() {
  packages_ensure socat openssh-client
  packages_ensure_alike qemu-system-x86 qemu-utils
}

vm_start() {
  local vm=$1 image file lan kernel
  image=$(readlink -f "$(vm_home "$vm")/image")
  file=$(vm_file "$vm")
  lan=$(cat "$(vm_home "$vm")/lan")
  kernel=$(cat "$file.kernel" 2>/dev/null || cat "$image/kernel")
  # eth0 leads out, by way of this machine; eth1 to the others. They have the same addresses in each, for a resumed one
  # goes on with those of the saved one; vms.sh gives eth1 another. qemu takes a flush for what it is (cache=writeback), and
  # what was written without one is lost with the machine: a power cut is a real one.
  quietly qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max -smp 2 -m 1024 \
    -nodefaults -no-user-config -no-reboot -display none \
    -kernel "$image/vmlinuz-$kernel" -initrd "$image/initrd.img-$kernel" \
    -append 'root=/dev/vda rw console=ttyS0 quiet net.ifnames=0 mitigations=off nokaslr fsck.mode=force' \
    -drive "file=$(readlink -f "$file.disk"),if=none,id=disk,cache=writeback" -device virtio-blk-pci,drive=disk \
    -netdev user,id=outer,hostfwd=tcp:127.0.0.1:0-:22 \
    -device "virtio-net-pci,netdev=outer,mac=52:54:00:00:00:01,romfile=" \
    -netdev "socket,id=lan,mcast=230.0.0.1:$lan,localaddr=127.0.0.1" \
    -device "virtio-net-pci,netdev=lan,mac=52:54:00:00:00:02,romfile=" \
    -object "filter-dump,id=capture,netdev=lan,file=$file.pcap" \
    -device virtio-rng-pci -serial "file:$file.console" \
    -monitor "unix:$file.monitor,server,nowait" -pidfile "$file.pid" -daemonize "${@:2}"
}

vm_resume() { vm_start "$1" -incoming "exec:cat '$(readlink -f "$(vm_home "$1")/image")/state'"; }

vm_monitor() {
  # the answer ends where the next prompt would be
  printf '%s\n' "$2" | socat -t 2 - "UNIX-CONNECT:$(vm_file "$1").monitor" | tr -d '\r' |
    sed -E '1,/^.*\(qemu\)/d; /^\(qemu\)/d'
}

# The pid of its process, if it runs. The pid in the file may belong to another process by now.
vm_pid() {
  local file pid
  file=$(vm_file "$1").pid
  pid=$(cat "$file" 2>/dev/null) || return 1
  grep -qzxF -- "$file" "/proc/$pid/cmdline" 2>/dev/null && printf '%s\n' "$pid"
}

# One shared connection: an ssh handshake takes an emulated processor two seconds.
vm_connect() {
  local vm=$1 file port try
  file=$(vm_file "$vm")
  port=$(vm_monitor "$vm" 'info usernet' | awk '$1 ~ /HOST_FORWARD/ { print $4 }')
  [ -n "$port" ] || die "qemu does not say which port leads to $vm" -- "less $file.console"
  {
    printf 'Host %s\n  HostName 127.0.0.1\n  Port %s\n' "$vm" "$port"
    printf '  User root\n  IdentityFile %s\n  IdentitiesOnly yes\n  BatchMode yes\n' "$(host_key)"
    # every machine has the same key, and another port each time
    printf '  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n'
    printf '  ControlPath %s.ssh\n  ConnectTimeout 20\n  ServerAliveInterval 20\n' "$file"
  } >"$file.ssh_config"
  for try in $(seq 120); do
    ! ssh -F "$file.ssh_config" -M -N -f "$vm" >/dev/null 2>&1 </dev/null || return 0
    vm_pid "$vm" >/dev/null || break
    sleep 0.5
  done
  tail -n 20 "$file.console" >&2
  die "$vm does not answer after $try tries" -- "less $file.console"
}

vm_disconnect() { ssh -F "$(vm_file "$1").ssh_config" -O exit "$1" >/dev/null 2>&1 || true; }

vm_ssh() { ssh -F "$(vm_file "$1").ssh_config" "$@"; }

vm_settle() {
  local state
  state=$(vm_ssh "$1" systemctl is-system-running --wait) || [ "$state" = degraded ] ||
    die "$1 does not come up (systemd: ${state:-no answer})" -- "scripts/vms ssh $1 systemctl list-jobs"
}

# Of a list of files, one a line.
vm_newest_kernel() { sed -n 's/^vmlinuz-//p' | sort -V | tail -n 1; }

vm_reboot() {
  local vm=$1 file try
  file=$(vm_file "$vm")
  # as a boot loader would take it
  vm_ssh "$vm" ls /boot | vm_newest_kernel >"$file.kernel"
  # sshd may end before it has answered
  vm_ssh "$vm" systemctl reboot || true
  for try in $(seq 600); do
    vm_pid "$vm" >/dev/null || break
    sleep 0.5
  done
  ! vm_pid "$vm" >/dev/null || die "$vm does not go down (after $try looks)" -- "less $file.console"
  vm_cut "$vm"
  vm_boot "$vm"
}

vm_cut() {
  local pid
  if pid=$(vm_pid "$1"); then
    kill -KILL "$pid"
    # Its disk is free when all of its threads are gone; the first of them may stay as a zombie where nobody collects it.
    while vm_pid "$1" >/dev/null || [ "$(find "/proc/$pid/task" -mindepth 1 -maxdepth 1 2>/dev/null | wc -l)" -gt 1 ]; do
      sleep 0.1
    done
  fi
  vm_disconnect "$1"
  rm -f "$(vm_file "$1")".{pid,monitor}
}

vm_boot() {
  [ -z "${2:-}" ] || printf '%s\n' "$2" >"$(vm_file "$1").kernel"
  vm_start "$1"
  vm_connect "$1"
  vm_settle "$1"
}
