#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/group.h"
#include "core/json.h"

namespace mechsweep {

class ThreadPool;

/// How values are stored in a checkpoint. Those after bf16 are quantised: GGUF only.
enum class StorageType {
  f32,
  f16,
  bf16,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q2_k,
  q3_k,
  q4_k,
  q5_k,
  q6_k,
  iq4_nl,
};
std::string_view storage_type_name(StorageType type);

/// A tensor of a checkpoint: row-major, shape outermost first ([out, in] for a matrix, whatever
/// the file's own order is).
struct TensorInfo {
  std::string name;
  std::vector<int64_t> shape;
  StorageType type = StorageType::f32;

  /// The outermost dimension; a scalar is one row.
  [[nodiscard]] int64_t rows() const { return shape.empty() ? 1 : shape.front(); }
  /// Values of a row: the product of the other dimensions.
  [[nodiscard]] int64_t row_size() const;
};

/// The tensors of a checkpoint on disk. Opening reads the headers only and checks that every
/// tensor lies inside its file; damage throws Error{input} naming file and tensor.
class TensorSource {
 public:
  virtual ~TensorSource() = default;
  /// In the file's order.
  [[nodiscard]] virtual const std::vector<TensorInfo>& tensors() const = 0;
  /// Null pointer when there is no such tensor.
  [[nodiscard]] virtual const TensorInfo* find(const std::string& name) const;
  /// The tensor, or Error{input} that says why it cannot be had: missing (with the nearest name
  /// that is there) or stored as a type that this build does not read.
  [[nodiscard]] virtual const TensorInfo& require(const std::string& name) const;
  /// Rows [row_begin, row_end) of the outermost dimension (all of a vector: its elements; a scalar
  /// is one row), converted to fp32, row-major, into `out`, which has exactly their size. Reads
  /// only those bytes. Throws Error{input} on a missing tensor or a short file. Several threads may
  /// read at once.
  virtual void read_rows(const std::string& name, int64_t row_begin, int64_t row_end,
                         float* out) const = 0;
  /// Places `columns` of each of `rows` (a column is a place among a row's values, whatever its
  /// dimensions), converted to fp32, into `out` [rows, columns]. As read_rows does, this reads only
  /// those bytes and may be called by several threads; it also throws Error{input} where a
  /// quantised type's blocks would be cut: columns begin and end at multiples of
  /// storage_block_size.
  virtual void read_columns(const std::string& name, Range rows, Range columns, float* out) const;
  /// Says that the whole tensor is read soon, so that the system can fetch it while others are
  /// converted. Changes no result; an unknown name does nothing.
  virtual void expect_reading(const std::string& /*name*/) const {}
  /// The files this reads from, for hashes and messages.
  [[nodiscard]] virtual std::vector<std::string> files() const = 0;
};

/// source.read_rows(name, rows.begin, rows.end, out), the rows shared out among threads.
void read_rows(const TensorSource& source, const std::string& name, Range rows, ThreadPool& threads,
               float* out);

/// Opens `model.safetensors`, or `model.safetensors.index.json` with its shards, in a folder.
/// Tensors come in the order of their data, shard by shard. Tensors of other known types (masks of
/// booleans, integer buffers) are not listed; asking for one says so.
std::unique_ptr<TensorSource> open_safetensors(const std::string& folder);

/// A GGUF file (v2 or v3): its metadata as JSON (arrays as JSON arrays; keys as in the file, such
/// as "llama.block_count") and its tensors. GGUF lists dimensions innermost first; shapes here are
/// outermost first. Strings are the file's bytes, which need not be UTF-8. A tensor of a type other
/// than StorageType's is refused.
struct GgufFile {
  Json metadata;
  std::unique_ptr<TensorSource> tensors;
};
GgufFile open_gguf(const std::string& path);

/// Converts `count` values of a storage type to fp32, bit for bit as the published formats say
/// (quant_blocks.h has the details). `count` is a multiple of the type's block size.
void dequantize(StorageType type, const uint8_t* bytes, int64_t count, float* out);
/// Values of a block of a type: 32 or 256 for the quantised ones, else 1.
int64_t storage_block_size(StorageType type);
/// Bytes that `count` values of a type take; `count` is a multiple of the block size.
int64_t storage_bytes(StorageType type, int64_t count);

}  // namespace mechsweep
