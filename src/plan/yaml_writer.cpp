#include "plan/yaml_writer.h"

#include <algorithm>

#include <yaml-cpp/emitter.h>
#include <yaml-cpp/emittermanip.h>

namespace mechsweep {

namespace {

void write(YAML::Emitter& out, const ConfigNode& node) {
  switch (node.kind) {
    case ConfigNode::Kind::null:
      out << YAML::Null;
      return;
    case ConfigNode::Kind::scalar:
      // Values that hold the emitter's idea of a special text were plain before, and stay so.
      if (node.quoted) out << YAML::DoubleQuoted;
      out << node.scalar;
      return;
    case ConfigNode::Kind::list: {
      const bool is_flat =
          std::all_of(node.items.begin(), node.items.end(),
                      [](const ConfigNode& item) { return item.kind == ConfigNode::Kind::scalar; });
      if (is_flat) out << YAML::Flow;
      out << YAML::BeginSeq;
      for (const ConfigNode& item : node.items) write(out, item);
      out << YAML::EndSeq;
      return;
    }
    case ConfigNode::Kind::map:
      out << YAML::BeginMap;
      for (const auto& entry : node.entries) {
        out << YAML::Key << entry.key << YAML::Value;
        write(out, entry.value);
      }
      out << YAML::EndMap;
      return;
  }
}

}  // namespace

std::string write_yaml(const ConfigNode& root) {
  YAML::Emitter out;
  write(out, root);
  ensure(out.good(), "a config that was read cannot be written");
  return std::string(out.c_str(), out.size()) + "\n";
}

}  // namespace mechsweep
