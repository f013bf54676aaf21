#include <array>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "core/json.h"
#include "mutators.h"

namespace mechsweep::fuzz {

namespace {

constexpr int kDeepest = 200;
constexpr size_t kMostNodes = 20'000;

/// Texts that a JSON value cannot hold, or would write otherwise.
constexpr std::array<std::string_view, 33> kRaw = {"9223372036854775807",
                                                   "9223372036854775808",
                                                   "18446744073709551615",
                                                   "18446744073709551616",
                                                   "-9223372036854775808",
                                                   "-9223372036854775809",
                                                   "4294967295",
                                                   "4294967296",
                                                   "2147483647",
                                                   "2147483648",
                                                   "-2147483649",
                                                   "-1",
                                                   "-0",
                                                   "-0.0",
                                                   "0.5",
                                                   "1e308",
                                                   "-1e308",
                                                   "1e309",
                                                   "1e-320",
                                                   "1E+2",
                                                   "1.0",
                                                   "16777217",
                                                   "nan",
                                                   "\"\\ud800\"",
                                                   "\"\\u0000\"",
                                                   "\"\xff\xfe\"",
                                                   "\"\xc0\x80\"",
                                                   "\"\\u001b[31m\"",
                                                   "\"\\n\\r\"",
                                                   "\"<0x0A>\"",
                                                   "\"\\u2581\"",
                                                   "[]",
                                                   "{}"};

class JsonMutator {
 public:
  JsonMutator(Json document, Random& random) : document_(std::move(document)), random_(random) {}

  std::string run() {
    const size_t changes = 1 + random_.below(3);
    for (size_t i = 0; i < changes; ++i) {
      nodes_.clear();
      collect(document_);
      change(*nodes_[random_.below(nodes_.size())]);
    }
    return with_raw_texts(document_.dump(-1, ' ', false, Json::error_handler_t::replace));
  }

 private:
  void collect(Json& node) {
    if (nodes_.size() >= kMostNodes) return;
    nodes_.push_back(&node);
    if (!node.is_structured()) return;
    for (Json& child : node) collect(child);
  }

  /// A text that stands for another in the document until it is written.
  std::string raw(std::string text) {
    raw_.push_back(std::move(text));
    return fmt::format("@@RAW{}@@", raw_.size() - 1);
  }

  [[nodiscard]] std::string with_raw_texts(std::string text) const {
    for (size_t i = 0; i < raw_.size(); ++i) {
      const std::string place = fmt::format("\"@@RAW{}@@\"", i);
      const size_t at = text.find(place);
      if (at != std::string::npos) text.replace(at, place.size(), raw_[i]);
    }
    return text;
  }

  std::string some_key() {
    std::vector<std::string> keys;
    for (const Json* node : nodes_) {
      if (!node->is_object()) continue;
      for (const auto& item : node->items()) keys.push_back(item.key());
      if (keys.size() > 200) break;
    }
    return keys.empty() ? "key" : keys[random_.below(keys.size())];
  }

  void change(Json& node) {
    if (node.is_structured() && !node.empty() && !random_.one_in(4)) return change_members(node);
    switch (random_.below(6)) {
      case 0:
        node = raw(std::string(random_.of(std::span<const std::string_view>(kRaw))));
        break;
      case 1:
        node = raw(fmt::to_string(random_.hostile_number()));
        break;
      case 2:
        change_type(node);
        break;
      case 3: {
        const Json other = *nodes_[random_.below(nodes_.size())];
        node = other;
        break;
      }
      case 4:
        nest(node);
        break;
      default:
        change_scalar(node);
    }
  }

  void change_type(Json& node) {
    const std::array<Json, 8> values = {nullptr, true,          false,          0,
                                        "text",  Json::array(), Json::object(), 1.5};
    node = random_.of(std::span<const Json>(values));
  }

  void nest(Json& node) {
    const std::array<size_t, 6> depths = {1, 2, 8, 30, 100, 2000};
    const size_t depth = random_.of(std::span<const size_t>(depths));
    const bool lists = random_.one_in(2);
    std::string text;
    for (size_t i = 0; i < depth; ++i) text += lists ? "[" : "{\"a\":";
    text += "1";
    for (size_t i = 0; i < depth; ++i) text += lists ? "]" : "}";
    node = raw(std::move(text));
  }

  void change_scalar(Json& node) {
    if (node.is_number_integer()) {
      const int64_t steps[] = {-1, 1, 2, -2, 16};
      const auto value = node.get<int64_t>();
      const auto step = steps[random_.below(5)];
      if (value < INT32_MAX && value > INT32_MIN)
        node = random_.one_in(2) ? value + step : value * step;
    } else if (node.is_number()) {
      node = node.get<double>() * (random_.one_in(2) ? -1.0 : 1e300);
    } else if (node.is_string()) {
      change_text(node.get_ref<std::string&>());
    } else {
      change_type(node);
    }
  }

  void change_text(std::string& text) {
    static constexpr std::array<std::string_view, 16> kParts = {
        " ", "\n", "\u2581", "\u0120", "\\", "(",       "[",       "{",
        "$", "..", "/",      "*",      "|",  "e\u0301", "(?i:a)+", "\\p{L}+"};
    const size_t at = random_.below(text.size() + 1);
    switch (random_.below(4)) {
      case 0:
        text.erase(at, 1 + random_.below(4));
        break;
      case 1:
        text.insert(at, random_.of(std::span<const std::string_view>(kParts)));
        break;
      case 2:
        text += text.substr(0, 64);
        break;
      default:
        text.insert(at, 1, static_cast<char>(random_.below(128)));
    }
  }

  void change_members(Json& node) {
    const size_t chosen = random_.below(node.size());
    auto place = std::next(node.begin(), static_cast<ptrdiff_t>(chosen));
    const size_t kind = random_.below(5);
    if (node.is_array()) {
      const Json copy = *place;
      if (kind == 0) {
        node.erase(place);
      } else if (kind == 1) {
        node.insert(place, copy);
      } else if (kind == 2) {
        for (int i = 0; i < 20; ++i) node.push_back(copy);
      } else {
        std::swap(node[chosen], node[random_.below(node.size())]);
      }
      return;
    }
    const Json value = *place;
    const std::string key = place.key();
    const std::string other_key = some_key();  // while nodes_ still holds what is there
    if (kind == 0) {
      node.erase(key);
    } else if (kind == 1) {  // the same key twice
      const std::string again = raw("\"" + key + "\"");
      node[again] = value;
    } else if (kind == 2) {
      node.erase(key);
      node[other_key] = value;
    } else if (kind == 3) {
      node[other_key] = value;
    } else {
      std::string changed = key;
      change_text(changed);
      node.erase(key);
      node[changed] = value;
    }
  }

  Json document_;
  Random& random_;
  std::vector<Json*> nodes_;
  std::vector<std::string> raw_;
};

}  // namespace

std::optional<std::string> mutate_json(std::string_view text, Random& random) {
  bool deep = false;
  const auto watch = [&](int depth, Json::parse_event_t, const Json&) {
    deep = deep || depth > kDeepest;
    return !deep;
  };
  Json document = Json::parse(text, watch, false);
  if (deep || document.is_discarded()) return std::nullopt;
  return JsonMutator(std::move(document), random).run();
}

}  // namespace mechsweep::fuzz
