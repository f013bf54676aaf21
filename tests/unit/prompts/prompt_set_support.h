#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/config_node.h"
#include "prompts/prompt_table.h"

namespace mechsweep {

/// A plain scalar; one that starts with a quote is quoted text.
inline ConfigNode config_scalar(const std::string& text) {
  ConfigNode node;
  node.kind = ConfigNode::Kind::scalar;
  node.quoted = text.starts_with('\'');
  node.scalar = node.quoted ? text.substr(1) : text;
  return node;
}

/// A plain scalar or, between brackets, a list of them: "[1, 2]".
inline ConfigNode config_value(const std::string& text) {
  if (!text.starts_with('[')) return config_scalar(text);
  ConfigNode list;
  list.kind = ConfigNode::Kind::list;
  for (size_t at = text.find_first_not_of("[, ]"); at != std::string::npos;) {
    const size_t end = text.find_first_of(",]", at);
    list.items.push_back(config_scalar(text.substr(at, end - at)));
    at = text.find_first_not_of(", ]", end);
  }
  return list;
}

/// One entry of `prompts:`, as key and value pairs, read the way a caller reads it.
class PromptEntry {
 public:
  PromptEntry(const std::string& kind, std::vector<std::pair<std::string, std::string>> values,
              const std::string& id = "p") {
    values.insert(values.begin(), {{"id", id}, {"kind", kind}});
    node_.kind = ConfigNode::Kind::map;
    node_.path = "prompts[0]";
    for (const auto& [key, value] : values) {
      ConfigNode child = config_value(value);
      child.path = "prompts[0]." + key;
      for (size_t i = 0; i < child.items.size(); ++i)
        child.items[i].path = child.path + "[" + std::to_string(i) + "]";
      node_.entries.push_back({key, {}, std::move(child)});
    }
    MapReader reader(node_, problems_);
    reader.text("id");
    reader.text("kind");
    for (const PromptKind& entry : prompt_table())
      if (entry.name == kind) source_ = entry.parse(id, reader);
    reader.finish();
  }

  [[nodiscard]] const std::vector<std::string>& problems() const { return problems_.lines(); }
  [[nodiscard]] const PromptSource& source() const { return *source_; }
  [[nodiscard]] std::vector<Prompt> make(const PromptContext& context) const {
    problems_.throw_if_any();
    return source_->make(context);
  }
  /// The message of the Error{kind} that make throws.
  [[nodiscard]] std::string failure(const PromptContext& context, ErrorKind kind) const {
    try {
      (void)make(context);
    } catch (const Error& error) {
      return error.kind() == kind ? error.what() : std::string("wrong kind: ") + error.what();
    }
    return "nothing was thrown";
  }

 private:
  ConfigNode node_;
  Problems problems_;
  std::unique_ptr<PromptSource> source_;
};

}  // namespace mechsweep
