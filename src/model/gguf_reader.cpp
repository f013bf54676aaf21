#include "model/gguf_reader.h"

#include <algorithm>
#include <cstring>

#include "core/error.h"

namespace mechsweep {
namespace {

constexpr uint64_t kBufferBytes = uint64_t{1} << 18;

}  // namespace

void GgufReader::refuse(const std::string& message) const {
  file_.refuse(fmt::format("{} {}", subject_, message));
}

void GgufReader::expect_items(uint64_t count, uint64_t item_bytes) const {
  if (count <= remaining() / item_bytes) return;
  file_.refuse(
      fmt::format("truncated: {} needs {} items of at least {} bytes at {}, the file has {} bytes; "
                  "fetch it again",
                  subject_, count, item_bytes, position_, file_.size_bytes()));
}

std::string GgufReader::text(uint64_t longest) {
  const auto length = number<uint64_t>();
  if (length > remaining()) file_.refuse_truncated(subject_, length, position_);
  if (length > longest) {
    refuse(
        fmt::format("has a text of {} bytes where {} is the most this build takes; the header "
                    "is damaged, fetch the file again",
                    length, longest));
  }
  std::string out(static_cast<size_t>(length), '\0');
  read(reinterpret_cast<uint8_t*>(out.data()), length);
  return out;
}

void GgufReader::read(uint8_t* out, uint64_t count) {
  if (count > remaining()) file_.refuse_truncated(subject_, count, position_);
  while (count > 0) {
    const uint64_t used = position_ - buffer_begin_;
    if (used == buffer_.size()) {
      buffer_begin_ = position_;
      buffer_.resize(static_cast<size_t>(std::min(kBufferBytes, remaining())));
      file_.read_at(position_, buffer_, subject_);
      continue;
    }
    const uint64_t part = std::min<uint64_t>(count, buffer_.size() - used);
    std::memcpy(out, buffer_.data() + used, static_cast<size_t>(part));
    out += part;
    position_ += part;
    count -= part;
  }
}

}  // namespace mechsweep
