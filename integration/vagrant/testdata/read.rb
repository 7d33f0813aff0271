# Stands in for Vagrant: evaluates a Vagrantfile and prints as JSON what it defines.
require "json"

class Anything
  def method_missing(*) = self
  def respond_to_missing?(*) = true
end

class Recorder < Anything
  attr_reader :seen

  def initialize = @seen = { "provision" => [] }
  def hostname=(name)
    @seen["hostname"] = name
  end
  def network(_kind, ip:) = @seen["address"] = ip
  def provision(_kind, inline:, run: "once") = @seen["provision"] << { "run" => run, "script" => inline }
end

class Box
  attr_reader :vm

  def initialize = @vm = Recorder.new
end

class Machines < Anything
  attr_reader :boxes, :image

  def initialize = @boxes = {}
  def box=(image)
    @image = image
  end
  def provider(_name) = yield(Anything.new)
  def define(name) = yield(@boxes[name] = Box.new)
end

class Config
  attr_reader :vm

  def initialize = @vm = Machines.new
end

module Vagrant
  def self.configure(version)
    abort "configuration version #{version}" unless version == "2"
    config = Config.new
    yield config
    puts JSON.generate("image" => config.vm.image, "boxes" => config.vm.boxes.transform_values { |b| b.vm.seen })
  end
end

load ARGV.fetch(0)
