#include "store/attempt_record.h"

#include "core/hash.h"
#include "store/results_file.h"

namespace mechsweep {
namespace {

constexpr const char* kChecksum = "crc32c";
constexpr size_t kChecksumBytes = 24;  // ,"crc32c":4294967295

uint32_t checksum_of(const Json& facts) {
  const std::string text = facts.dump(-1, ' ', false, Json::error_handler_t::replace);
  return crc32c({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
}

}  // namespace

std::vector<uint8_t> encode_attempt(Json facts) {
  constexpr size_t kRoom = static_cast<size_t>(kAttemptRecordBytes) - kChecksumBytes;
  facts.erase(kChecksum);
  Json left_out = Json::array();
  while (facts.dump().size() >= kRoom && !facts.empty()) {
    std::string largest;
    size_t size = 0;
    for (const auto& [name, value] : facts.items()) {
      if (name != "left_out" && value.dump().size() > size) {
        largest = name;
        size = value.dump().size();
      }
    }
    facts.erase(largest);
    left_out.push_back(largest);
    facts["left_out"] = left_out;
  }
  const uint32_t checksum = checksum_of(facts);
  facts[kChecksum] = checksum;
  const std::string text = facts.dump();
  std::vector<uint8_t> bytes(text.begin(), text.end());
  bytes.resize(static_cast<size_t>(kAttemptRecordBytes), 0);
  return bytes;
}

Json decode_attempt(const std::string& text) {
  const Json unreadable = {{"unreadable", true}};
  Json facts = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!facts.is_object() || !facts.contains(kChecksum)) return unreadable;
  const Json checksum = facts[kChecksum];
  facts.erase(kChecksum);
  if (!checksum.is_number_unsigned() || checksum != checksum_of(facts)) return unreadable;
  return facts;
}

}  // namespace mechsweep
