# shellcheck shell=bash
# testbed.sh: sources all libraries of this folder, in the order of their dependencies.
# usage: source scripts/lib/testbed.sh

for library in say packages docker rust host-image apt-root compose-v2 hosts namespace-root namespaces venv vagrant vm vms vm-image; do
  # shellcheck source=/dev/null
  source "$(dirname "${BASH_SOURCE[0]}")/$library.sh"
done
unset library
