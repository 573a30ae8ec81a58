# A value of a YAML file that knows its line: whoever finds something wrong with it can say where.

require "yaml"

module Lab
  # The message is for whoever runs vagrant.
  class Mistake < Vagrant::Errors::VagrantError
    attr_reader :error_message

    def initialize(what, way_out)
      @error_message = "#{what}\nhint: #{way_out}"
      super()
    end
  end

  class Entry
    def self.of_file(file)
      document = Psych.parse(File.read(file), filename: file)
      new(file, document ? document.root : Psych::Nodes::Mapping.new, 1)
    rescue SystemCallError => error
      raise Mistake.new("cannot read #{file}: #{error.message}", "git checkout vagrant/nodes.yaml")
    rescue Psych::SyntaxError => error
      raise Mistake.new("#{file}:#{error.line}: this is no YAML: #{error.problem} #{error.context}", "a line is NAME: VALUE, without tabs")
    end

    def initialize(file, node, line)
      @file, @node, @line = file, node, line
    end

    # The entries of a mapping by their names; none where there is nothing.
    def to_h
      return {} if @node.scalar? && @node.value.empty?
      wrong("here must be lines of NAME: VALUE", "git diff #{@file}") unless @node.mapping?
      @node.children.each_slice(2).with_object({}) do |(name, value), found|
        entry = Entry.new(@file, value, name.start_line + 1)
        entry.wrong("#{name.value} is here twice", "take one of them out") if found.key?(name.value)
        found[name.value] = entry
      end
    end

    def text
      @node.scalar? ? @node.value : wrong("here must be one value", "git diff #{@file}")
    end

    def number
      text.match?(/\A[1-9]\d*\z/) ? text.to_i : wrong("#{text} is no number", "1024, for example")
    end

    def wrong(what, way_out)
      raise Mistake.new("#{@file}:#{@line}: #{what}", way_out)
    end
  end
end
