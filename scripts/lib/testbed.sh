# shellcheck shell=bash
# testbed.sh: all the rooms of this folder at once, in the order in which they build on each other.
# usage: source scripts/lib/testbed.sh

for room in say packages docker rust host-image apt-root compose-v2 hosts namespace-root namespaces venv vagrant vm vms vm-image; do
  # shellcheck source=/dev/null
  source "$(dirname "${BASH_SOURCE[0]}")/$room.sh"
done
unset room
