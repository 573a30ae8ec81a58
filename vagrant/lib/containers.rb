# What the docker provider needs to know of our container hosts: scripts/lib/hosts.sh starts the same ones.

require_relative "entry"

module Lab
  module Containers
    SCRIPTS = File.expand_path("../../scripts", __dir__)
    HOSTS = File.join(SCRIPTS, "hosts")
    CACHE = ENV.fetch("MITIGATOR_VPN_TEST_CACHE", "/var/cache/mitigator-vpn-testbed")
    KEY = File.join(CACHE, "ssh/id_ed25519")
    OPTIONS = File.readlines(File.join(SCRIPTS, "lib/container-options"), chomp: true)

    # By which scripts/hosts knows them: `scripts/hosts down vagrant` removes what Vagrant has forgotten.
    LABEL = "mitigator-vpn-testbed=vagrant"

    # Makes it, unless it is there: without a registry, from this machine's own mirror.
    def self.make_image(suite)
      made = Vagrant::Util::Env.with_original_env { system(HOSTS, "prepare", suite, out: File::NULL) }
      made or raise Mistake.new("there is no image of a #{suite} host", "#{HOSTS} prepare #{suite}")
    end

    # The servers a container can reach: not a stub on this machine's loopback.
    def self.nameservers
      Dir["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf"].flat_map { |file| File.readlines(file) }
        .filter_map { |line| line[/^nameserver\s+(?!127\.)([\d.]+)\s*$/, 1] }.uniq.join(" ")
    end
  end
end
