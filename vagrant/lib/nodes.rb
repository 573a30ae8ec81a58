# nodes.yaml: which nodes there are, of which release, where.

require "ipaddr"
require_relative "entry"

module Lab
  Node = Struct.new(:name, :release, :later, :box, :address, :vpn_address, keyword_init: true) do
    def suite = Nodes::SUITES[release]

    def image = "mitigator-vpn-testbed/host:#{suite}"

    # Whether a container of this node is of another release.
    def stand_in? = !Nodes::SUITES.key?(release)
  end

  class Nodes
    include Enumerable

    # Of these, the project can make the image of a container; the default stands in for the others. (Debian 11 could be
    # had, but has no wireguard-go, and a container has no kernel of its own.)
    SUITES = { "debian-12" => "bookworm", "debian-13" => "trixie" }
    SUITES.default = "bookworm"

    RELEASES = Dir.children(File.expand_path("../../distros", __dir__)).filter_map { |file| file[/\A(.+-.+)\.toml\z/, 1] }.sort
    SETTINGS = %w[nodes later network memory cpus boxes]

    attr_reader :memory, :cpus

    def initialize(file)
      top = Entry.of_file(file)
      settings = top.to_h
      (settings.keys - SETTINGS).each { |name| settings[name].wrong("unknown setting #{name}", "known are #{SETTINGS.join(", ")}") }
      (SETTINGS - settings.keys).each { |name| top.wrong("#{name} is missing", "git diff #{file}") }

      @memory, @cpus = settings["memory"].number, settings["cpus"].number
      @network = first_three_numbers(settings["network"])
      @boxes = settings["boxes"].to_h
      @nodes = []
      settings["nodes"].wrong("there is no node", "node-1: debian-12, for example") if settings["nodes"].to_h.empty?
      settings["nodes"].to_h.each { |name, release| add(name, release, later: false) }
      settings["later"].to_h.each { |name, release| add(name, release, later: true) }
    end

    def each(&) = @nodes.each(&)

    private

    def add(name, entry, later:)
      release = entry.text
      entry.wrong("#{name} is no host name", "letters, digits and hyphens") unless name.match?(/\A[a-z0-9]([a-z0-9-]*[a-z0-9])?\z/i)
      entry.wrong("#{name} is here twice", "take one of them out") if any? { |node| node.name == name }
      entry.wrong("unknown release #{release}", "known are #{RELEASES.join(", ")}") unless RELEASES.include?(release)
      box = @boxes[release] || entry.wrong("there is no box for #{release}", "add one to boxes")
      number = @nodes.size + 1
      @nodes << Node.new(name:, release:, later:, box: box.text,
                         address: "#{@network}.#{10 + number}", vpn_address: "10.8.3.#{number}")
    end

    def first_three_numbers(entry)
      IPAddr.new("#{entry.text}.0/24")
      entry.text
    rescue IPAddr::Error
      entry.wrong("#{entry.text} is not the beginning of a network", "three numbers: 192.168.56")
    end
  end
end
