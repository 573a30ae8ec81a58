# A node becomes a member of the cluster, the way an operator does it: with the list of any member it installs itself,
# and the list that makes then goes to all the others. The first one finds nobody, and creates the cluster.

require "tempfile"
require_relative "nodes"

module Lab
  class Member < Vagrant.plugin("2", :provisioner)
    LIST = "/srv/mitigator/vpn-public.conf"
    BROUGHT = "/tmp/peers.conf"

    def provision
      say_who_stands_in
      others = (config.all - [config.node]).filter_map { |node| running(node) }
      members = others.select { |other| list_of(other) }

      install(@machine, members.first && list_of(members.first),
              "--vpn-address #{config.node.vpn_address} --endpoint #{config.node.address} --stack default")
      list = list_of(@machine)
      members.each { |member| install(member, list) unless list_of(member) == list }
    end

    private

    # The machine of a node, if it is up.
    def running(node)
      machine = @machine.env.machine(node.name.to_sym, @machine.provider_name)
      machine if machine.state.id == :running
    end

    def list_of(machine)
      list = +""
      status = machine.communicate.sudo("cat #{LIST}", error_check: false) { |stream, text| list << text if stream == :stdout }
      list if status.zero?
    end

    def install(machine, list, instance = nil)
      bring(machine, list) if list
      command = ["mitigator-vpn install --yes", instance, ("--peers #{BROUGHT}" if list)].compact.join(" ")
      machine.ui.info(command)
      status = machine.communicate.sudo(command, error_check: false) do |_, text|
        text.each_line(chomp: true) { |line| machine.ui.detail(line) unless line.empty? }
      end
      # 5: applied, but somebody doesn't answer yet: the others hear of this member only afterwards
      return if [0, 5].include?(status)
      raise Mistake.new("#{machine.name}: mitigator-vpn install ended with #{status}", "vagrant ssh #{machine.name}")
    end

    def bring(machine, list)
      Tempfile.create("peers") do |file|
        file.write(list)
        file.close
        machine.communicate.upload(file.path, BROUGHT)
      end
    end

    def say_who_stands_in
      return unless @machine.provider_name == :docker && config.node.stand_in?
      @machine.ui.warn("a container of Debian #{config.node.suite} in place of #{config.node.release}")
    end
  end

  class MemberConfig < Vagrant.plugin("2", :config)
    attr_accessor :node, :all
  end

  class Plugin < Vagrant.plugin("2")
    name "lab"
    provisioner(:member) { Member }
    config(:member, :provisioner) { MemberConfig }
  end
end
