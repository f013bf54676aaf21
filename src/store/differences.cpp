#include <map>

#include "core/error.h"
#include "store/results_file.h"

namespace mechsweep {
namespace {

constexpr size_t kLongestValue = 60;

std::string shown(const Json& value) {
  std::string text = value.dump();
  if (text.size() > kLongestValue) {
    text = text.substr(0, kLongestValue) + "...";
  }
  return text;
}

/// Entries of a list by their "id", when each is an object with one of its own.
bool index_by_id(const Json& list, std::map<std::string, const Json*>& out) {
  for (const Json& entry : list) {
    if (!entry.is_object() || !entry.contains("id") || !entry["id"].is_string()) return false;
    if (!out.emplace(entry["id"].get<std::string>(), &entry).second) return false;
  }
  return true;
}

class Comparison {
 public:
  void compare(const std::string& path, const Json* in_file, const Json* now) {
    if (in_file == nullptr) return say(path, "not in the file, " + shown(*now) + " now");
    if (now == nullptr) return say(path, shown(*in_file) + " in the file, not there now");
    if (*in_file == *now) return;
    if (in_file->is_object() && now->is_object()) return compare_objects(path, *in_file, *now);
    if (in_file->is_array() && now->is_array()) return compare_lists(path, *in_file, *now);
    say(path, shown(*in_file) + " in the file, " + shown(*now) + " now");
  }

  [[nodiscard]] std::vector<std::string> take() { return std::move(lines_); }

 private:
  void say(const std::string& path, const std::string& what) {
    lines_.push_back((path.empty() ? "config" : path) + ": " + what);
  }

  void compare_objects(const std::string& path, const Json& in_file, const Json& now) {
    const std::string prefix = path.empty() ? "" : path + ".";
    for (const auto& [key, value] : in_file.items()) {
      compare(prefix + key, &value, now.contains(key) ? &now[key] : nullptr);
    }
    for (const auto& [key, value] : now.items()) {
      if (!in_file.contains(key)) compare(prefix + key, nullptr, &value);
    }
  }

  void compare_lists(const std::string& path, const Json& in_file, const Json& now) {
    std::map<std::string, const Json*> old_by_id;
    std::map<std::string, const Json*> new_by_id;
    if (index_by_id(in_file, old_by_id) && index_by_id(now, new_by_id)) {
      return compare_by_id(path, old_by_id, new_by_id);
    }
    if (in_file.size() != now.size()) {
      return say(path, shown(in_file) + " in the file, " + shown(now) + " now");
    }
    for (size_t i = 0; i < in_file.size(); ++i) {
      compare(fmt::format("{}[{}]", path, i), &in_file[i], &now[i]);
    }
  }

  void compare_by_id(const std::string& path, const std::map<std::string, const Json*>& in_file,
                     const std::map<std::string, const Json*>& now) {
    const size_t before = lines_.size();
    for (const auto& [id, value] : in_file) {
      const auto found = now.find(id);
      compare(fmt::format("{}[{}]", path, id), value, found == now.end() ? nullptr : found->second);
    }
    for (const auto& [id, value] : now) {
      if (!in_file.contains(id)) compare(fmt::format("{}[{}]", path, id), nullptr, value);
    }
    if (lines_.size() == before) say(path, "the same entries in another order");
  }

  std::vector<std::string> lines_;
};

}  // namespace

std::vector<std::string> describe_differences(const Json& in_file, const Json& now) {
  Comparison comparison;
  comparison.compare("", &in_file, &now);
  return comparison.take();
}

std::string identity_differences(const Json& in_file_attributes, const Json& now_attributes) {
  const auto identity = [](const Json& attributes) {
    return Json::parse(attributes.value("identity", "{}"), nullptr, /*allow_exceptions=*/false);
  };
  const std::string text =
      joined(describe_differences(identity(in_file_attributes), identity(now_attributes)));
  return text.empty() ? "none that the files tell" : text;
}

std::string joined(const std::vector<std::string>& sentences) {
  return fmt::format("{}", fmt::join(sentences, "; "));
}

}  // namespace mechsweep
