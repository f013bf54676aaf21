#include "core/json_text.h"

#include <utility>
#include <vector>

#include "core/error.h"
#include "core/text_file.h"

namespace mechsweep {

namespace {

constexpr size_t kLongestReason = 300;
constexpr size_t kLongestShown = 120;

/// The library's message without its name and place, "[json...] parse error at line 1, column 7: ".
std::string_view reason_of(std::string_view what) {
  const size_t name = what.find("] ");
  if (name != std::string_view::npos) what.remove_prefix(name + 2);
  constexpr std::string_view kColumn = "column ";
  const size_t column = what.find(kColumn);
  const size_t end = what.find(": ", column);
  if (column != std::string_view::npos && end != std::string_view::npos) {
    what.remove_prefix(end + 2);
  }
  return what;
}

/// Builds a document from the library's events. Its own builder would keep the last of two equal
/// names, and nest as deep as the text does.
class StrictBuilder final : public nlohmann::json_sax<Json> {
 public:
  StrictBuilder(std::string_view text, size_t deepest) : text_(text), deepest_(deepest) {}

  [[nodiscard]] Json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(int64_t value) override { return add(value); }
  bool number_unsigned(uint64_t value) override { return add(value); }
  bool number_float(double value, const std::string& /*text*/) override { return add(value); }
  bool string(std::string& value) override { return add(std::move(value)); }
  bool binary(Json::binary_t& /*value*/) override { return false; }  // not in texts
  bool start_object(size_t /*size*/) override { return open(Json::object()); }
  bool start_array(size_t /*size*/) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(std::string& name) override {
    auto& members = open_.back()->get_ref<Json::object_t&>();
    const auto [member, is_new] = members.emplace(name, nullptr);
    if (!is_new) fail(ErrorKind::input, "has the name '{}' twice", fit_for_message(name, 60));
    member_ = &member->second;
    return true;
  }

  bool parse_error(size_t position, const std::string& /*token*/,
                   const Json::exception& error) override {
    // The place is counted from 1 and may be behind the end.
    const LineColumn at = line_column(text_, position == 0 ? 0 : position - 1);
    const bool one_line = text_.find('\n') == std::string_view::npos;
    const std::string reason = fit_for_message(reason_of(error.what()), kLongestReason);
    fail(ErrorKind::input, "is not valid JSON: {}column {}: {}",
         one_line ? "" : fmt::format("line {}, ", at.line), at.column, reason);
  }

 private:
  Json* place(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    if (open_.back()->is_array()) {
      auto& items = open_.back()->get_ref<Json::array_t&>();
      items.push_back(std::move(value));
      return &items.back();
    }
    *member_ = std::move(value);
    return member_;
  }
  bool add(Json value) {
    place(std::move(value));
    return true;
  }
  bool open(Json value) {
    if (open_.size() >= deepest_) {
      fail(ErrorKind::input, "is nested deeper than {} levels", deepest_);
    }
    open_.push_back(place(std::move(value)));
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  std::string_view text_;
  size_t deepest_;
  Json root_;
  std::vector<Json*> open_;  // the objects and arrays around what comes next
  Json* member_ = nullptr;   // of the innermost object, whose value comes next
};

}  // namespace

Json parse_json(std::string_view text, size_t deepest) {
  StrictBuilder builder(text, deepest);
  const bool whole = Json::sax_parse(text.begin(), text.end(), &builder);
  ensure(whole, "a text that is not JSON was refused");
  return builder.take();
}

std::string show_json(const Json& value) {
  constexpr size_t kMostItems = 8;
  if (value.is_structured() && value.size() > kMostItems) {
    return fmt::format("{} of {} items", value.is_array() ? "a list" : "a map", value.size());
  }
  // Bytes that are not UTF-8 can be in GGUF's texts, and would make the library throw.
  return fit_for_message(value.dump(-1, ' ', false, Json::error_handler_t::replace), kLongestShown);
}

}  // namespace mechsweep
