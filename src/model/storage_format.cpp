#include "model/storage_format.h"

#include <algorithm>

#include "core/error.h"
#include "model/quant_blocks.h"

namespace mechsweep {
namespace {

constexpr StorageFormat kFormats[] = {
    {StorageType::f32, "F32", 0, 1, 4, convert_f32},
    {StorageType::f16, "F16", 1, 1, 2, convert_f16},
    {StorageType::bf16, "BF16", 30, 1, 2, convert_bf16},
    {StorageType::q4_0, "Q4_0", 2, 32, 18, convert_q4_0},
    {StorageType::q4_1, "Q4_1", 3, 32, 20, convert_q4_1},
    {StorageType::q5_0, "Q5_0", 6, 32, 22, convert_q5_0},
    {StorageType::q5_1, "Q5_1", 7, 32, 24, convert_q5_1},
    {StorageType::q8_0, "Q8_0", 8, 32, 34, convert_q8_0},
    {StorageType::q2_k, "Q2_K", 10, 256, 84, convert_q2_k},
    {StorageType::q3_k, "Q3_K", 11, 256, 110, convert_q3_k},
    {StorageType::q4_k, "Q4_K", 12, 256, 144, convert_q4_k},
    {StorageType::q5_k, "Q5_K", 13, 256, 176, convert_q5_k},
    {StorageType::q6_k, "Q6_K", 14, 256, 210, convert_q6_k},
    {StorageType::iq4_nl, "IQ4_NL", 20, 32, 18, convert_iq4_nl},
};

constexpr bool is_in_order() {
  for (size_t i = 0; i < std::size(kFormats); ++i) {
    if (kFormats[i].type != static_cast<StorageType>(i)) return false;
    if (kFormats[i].values > kMostBlockValues) return false;
  }
  return true;
}
static_assert(is_in_order(), "the table is looked up by the type's number");

}  // namespace

const StorageFormat& storage_format(StorageType type) {
  const auto index = static_cast<size_t>(type);
  ensure(index < std::size(kFormats), "not a storage type");
  return kFormats[index];
}

std::optional<StorageType> storage_type_of_gguf(uint32_t number) {
  const auto* found =
      std::find_if(std::begin(kFormats), std::end(kFormats),
                   [&](const StorageFormat& format) { return format.gguf_number == number; });
  return found == std::end(kFormats) ? std::nullopt : std::optional(found->type);
}

std::string storage_type_list() {
  std::string list;
  for (size_t i = 0; i < std::size(kFormats); ++i) {
    if (i > 0) list += i + 1 < std::size(kFormats) ? ", " : " and ";
    list += kFormats[i].name;
  }
  return list;
}

std::string_view storage_type_name(StorageType type) {
  return storage_format(type).name;
}

int64_t storage_block_size(StorageType type) {
  return storage_format(type).values;
}

int64_t storage_bytes(StorageType type, int64_t count) {
  const StorageFormat& format = storage_format(type);
  ensure(count >= 0 && count % format.values == 0, "values are not whole blocks");
  int64_t bytes = 0;
  ensure(!__builtin_mul_overflow(count / format.values, format.bytes, &bytes),
         "a count of values whose bytes overflow");
  return bytes;
}

}  // namespace mechsweep
