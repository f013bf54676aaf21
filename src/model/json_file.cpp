#include "model/json_file.h"

#include <string_view>

#include "core/error.h"
#include "core/json_text.h"

namespace mechsweep {

Json read_json(const InputFile& file, uint64_t offset, uint64_t length,
               const std::string& subject) {
  if (length > kLargestJson) {
    file.refuse(
        fmt::format("{} has {} bytes, more than any checkpoint's; it is damaged, fetch it "
                    "again",
                    subject, length));
  }
  std::string text(static_cast<size_t>(length), '\0');
  file.read_at(offset, {reinterpret_cast<uint8_t*>(text.data()), text.size()}, subject);
  try {
    return parse_json(text);
  } catch (const Error& error) {
    file.refuse(fmt::format("{} {}; fetch the file again", subject, error.message()));
  }
}

Json read_json_file(const std::string& path) {
  const InputFile file(path);
  file.refuse_lfs_pointer();
  return read_json(file, 0, file.size_bytes(), "the file");
}

}  // namespace mechsweep
