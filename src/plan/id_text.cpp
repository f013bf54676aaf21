#include "plan/id_text.h"

namespace mechsweep {

bool has_id_characters(const std::string& text) {
  constexpr const char* kCharacters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
  return !text.empty() && text.find_first_not_of(kCharacters) == std::string::npos;
}

}  // namespace mechsweep
