# shellcheck shell=bash
# vagrant.sh: Vagrant, for the nodes of vagrant/.
# usage: source scripts/lib/{say,packages,docker,hosts,vagrant}.sh
#   vagrant_ensure PROVIDER   Vagrant itself; for docker a daemon as well (its images are the Vagrantfile's matter)
#   vagrant_nodes             prints the nodes that there are, one a line
#   vagrant_destroy           removes them; quiet if there are none

vagrant_ensure() {
  command -v vagrant >/dev/null || packages_ensure vagrant
  command -v jq >/dev/null || packages_ensure jq
  command -v pkill >/dev/null || packages_ensure procps
  [ "$1" != docker ] || docker_ensure vagrant
}

vagrant_in() ( cd "$REPO/vagrant" && vagrant "$@" )

vagrant_nodes() { vagrant_in status --machine-readable | awk -F, '$3 == "state" && $4 != "not_created" { print $2 }'; }

# Vagrant doesn't know of a container whose creation was interrupted.
vagrant_destroy() {
  [ -z "$(vagrant_nodes)" ] || vagrant_in destroy --force >&2
  ! command -v docker >/dev/null || hosts_down vagrant
}
