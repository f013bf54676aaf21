#include "plan/part.h"

#include <algorithm>
#include <charconv>
#include <numeric>

#include "core/error.h"

namespace mechsweep {

namespace {

constexpr int kMostParts = 100'000;

bool parse_number(std::string_view text, int& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

}  // namespace

SweepPart parse_part(const std::string& text) {
  SweepPart part;
  const size_t slash = text.find('/');
  if (slash == std::string::npos ||
      !parse_number(std::string_view(text).substr(0, slash), part.number) ||
      !parse_number(std::string_view(text).substr(slash + 1), part.count) || part.number < 1 ||
      part.number > part.count || part.count > kMostParts)
    fail(ErrorKind::usage, "--part {}: is not I/N with whole numbers from 1/1 to N/N, such as 3/16",
         text);
  return part;
}

std::vector<bool> units_of_part(std::span<const double> flops, const SweepPart& part) {
  const double total = std::accumulate(flops.begin(), flops.end(), 0.0);
  std::vector<bool> mine(flops.size());
  double before = 0.0;
  for (size_t i = 0; i < flops.size(); ++i) {
    // By its middle: a unit that spans a border goes where more of it lies.
    const double place = total > 0.0
                             ? (before + flops[i] / 2.0) / total
                             : (static_cast<double>(i) + 0.5) / static_cast<double>(flops.size());
    const int number = 1 + std::min(part.count - 1, static_cast<int>(place * part.count));
    mine[i] = number == part.number;
    before += flops[i];
  }
  return mine;
}

}  // namespace mechsweep
