#include "core/error.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>

namespace mechsweep {

int exit_status(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::usage:
      return 2;
    case ErrorKind::input:
      return 3;
    case ErrorKind::resource:
      return 4;
    case ErrorKind::interrupted:
      return 5;
    case ErrorKind::internal:
      return 70;
  }
  return 70;
}

Error::Error(ErrorKind kind, std::string message, std::vector<std::string> context)
    : kind_(kind), message_(std::move(message)), context_(std::move(context)) {
  for (const auto& part : context_) what_ += part + ": ";
  what_ += message_;
}

Error Error::within(std::string outer) const {
  std::vector<std::string> context{std::move(outer)};
  context.insert(context.end(), context_.begin(), context_.end());
  return {kind_, message_, std::move(context)};
}

void ensure(bool invariant, std::string_view what, std::source_location where) {
  if (invariant) return;
  std::fprintf(stderr, "mechsweep: internal error at %s:%u (%s): %.*s. Please report it.\n",
               where.file_name(), where.line(), where.function_name(),
               static_cast<int>(what.size()), what.data());
  std::abort();
}

namespace {

size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
    }
  }
  return row[b.size()];
}

}  // namespace

std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates) {
  std::string best;
  size_t best_distance = 0;
  for (const auto& candidate : candidates) {
    const size_t distance = edit_distance(word, candidate);
    const size_t allowed = std::max<size_t>(1, std::max(word.size(), candidate.size()) / 3);
    if (distance <= allowed && (best.empty() || distance < best_distance)) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace mechsweep
