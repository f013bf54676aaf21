#pragma once

#include <exception>
#include <source_location>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace mechsweep {

/// Who can mend an error decides its kind, and the kind decides the program's exit status.
enum class ErrorKind {
  usage,        ///< command line or config: exit 2
  input,        ///< a file given to us is missing, damaged or not what it says: exit 3
  resource,     ///< memory, disk, device, or the file's lock is held: exit 4
  interrupted,  ///< stopped by a signal, a watchdog or a stop file; resumable: exit 5
  internal,     ///< a fault of ours that was caught late: exit 70
};

/// Exit statuses that are not errors of the whole program.
inline constexpr int kExitDone = 0;
inline constexpr int kExitUnitsFailed = 1;

/// The documented exit status of an error kind (docs/user-guide.md).
int exit_status(ErrorKind kind) noexcept;

/// Something from outside was wrong, or the outside world failed us. `message` is one clear
/// sentence that says what is wrong and what to do; `context` names where, outermost first
/// (file, key, tensor, unit). what() is "context: context: message".
class Error : public std::exception {
 public:
  Error(ErrorKind kind, std::string message, std::vector<std::string> context = {});

  [[nodiscard]] ErrorKind kind() const noexcept { return kind_; }
  [[nodiscard]] const std::string& message() const noexcept { return message_; }
  [[nodiscard]] const std::vector<std::string>& context() const noexcept { return context_; }
  [[nodiscard]] const char* what() const noexcept override { return what_.c_str(); }

  /// The same error with one more outer context in front.
  [[nodiscard]] Error within(std::string outer) const;

 private:
  ErrorKind kind_;
  std::string message_;
  std::vector<std::string> context_;
  std::string what_;
};

/// Throws Error with a message made by fmt.
template <typename... Args>
[[noreturn]] void fail(ErrorKind kind, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(kind, fmt::format(format, std::forward<Args>(args)...));
}

/// Aborts with the caller's place when an invariant of ours is broken. Never for input.
void ensure(bool invariant, std::string_view what,
            std::source_location where = std::source_location::current());

/// The candidate closest to `word` by edit distance, or empty when none is close enough to be a
/// likely typing error (distance at most a third of the longer length, at least 1).
std::string nearest_name(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace mechsweep
