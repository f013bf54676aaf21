#include "model/tensor_files.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <system_error>
#include <tuple>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/text_file.h"
#include "model/storage_format.h"
#include "model/vector_math.h"

namespace mechsweep {
namespace {

// Bytes read and converted at a time: as much as parallel file systems move at once, and little
// enough to stay in the second-level cache on the way.
constexpr int64_t kChunkBytes = int64_t{1} << 20;

std::unique_ptr<uint8_t[]> make_buffer(int64_t bytes) {
  return std::make_unique_for_overwrite<uint8_t[]>(static_cast<size_t>(bytes));
}

std::string system_message(int error) {
  return std::generic_category().message(error);
}

ErrorKind kind_of_open_error(int error) {
  return error == EMFILE || error == ENFILE || error == ENOMEM ? ErrorKind::resource
                                                               : ErrorKind::input;
}

}  // namespace

std::string printable(std::string_view text) {
  constexpr size_t kLongest = 120;
  return fmt::format("'{}'", fit_for_message(text, kLongest));
}

std::optional<uint64_t> checked_product(uint64_t a, uint64_t b) {
  uint64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

std::optional<uint64_t> checked_sum(uint64_t a, uint64_t b) {
  uint64_t sum = 0;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

std::optional<int64_t> checked_values(const std::vector<int64_t>& shape) {
  int64_t bound = 1;
  bool empty = false;
  for (const int64_t dimension : shape) {
    if (dimension < 0 || __builtin_mul_overflow(bound, std::max<int64_t>(dimension, 1), &bound)) {
      return std::nullopt;
    }
    empty = empty || dimension == 0;
  }
  return empty ? 0 : bound;
}

InputFile::InputFile(std::string path) : path_(std::move(path)) {
  // O_NONBLOCK: opening a pipe by mistake must end in a message, not in waiting for a writer.
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor_ < 0) {
    const int error = errno;
    throw Error(kind_of_open_error(error),
                fmt::format("the file cannot be opened ({}); check the path and its permissions",
                            system_message(error)),
                {path_});
  }
  struct stat status {};
  const bool known = ::fstat(descriptor_, &status) == 0;
  if (!known || !S_ISREG(status.st_mode)) {
    ::close(descriptor_);
    descriptor_ = -1;
    refuse("this is not a regular file; name the checkpoint's file itself");
  }
  size_bytes_ = static_cast<uint64_t>(status.st_size);
}

InputFile::~InputFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      size_bytes_(other.size_bytes_) {}

void InputFile::read_at(uint64_t offset, std::span<uint8_t> out, std::string_view subject) const {
  if (offset > size_bytes_ || out.size() > size_bytes_ - offset) {
    refuse_truncated(subject, out.size(), offset);
  }
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t got = ::pread(descriptor_, out.data() + done, out.size() - done,
                                static_cast<off_t>(offset + done));
    if (got > 0) {
      done += static_cast<size_t>(got);
    } else if (got == 0) {
      refuse(
          fmt::format("the file became shorter while {} was read from it; leave it in place "
                      "during a run",
                      subject));
    } else if (errno != EINTR) {
      refuse(fmt::format("reading {} failed ({}); check the disk or file system", subject,
                         system_message(errno)));
    }
  }
}

void InputFile::fetch_ahead(uint64_t offset, uint64_t count) const {
  // A file system that knows no such advice loses nothing but time.
  (void)::posix_fadvise(descriptor_, static_cast<off_t>(offset), static_cast<off_t>(count),
                        POSIX_FADV_WILLNEED);
}

void InputFile::refuse_truncated(std::string_view subject, uint64_t needed_bytes,
                                 uint64_t offset) const {
  refuse(fmt::format("truncated: {} needs {} bytes at {}, the file has {}; fetch it again", subject,
                     needed_bytes, offset, size_bytes_));
}

void InputFile::refuse(std::string message) const {
  throw Error(ErrorKind::input, std::move(message), {path_});
}

void InputFile::refuse_lfs_pointer() const {
  static constexpr std::string_view kPointer = "version https://git-lfs";
  if (size_bytes_ < kPointer.size()) return;
  std::array<uint8_t, kPointer.size()> start{};
  read_at(0, start, "the file's start");
  if (std::equal(kPointer.begin(), kPointer.end(), start.begin())) {
    refuse("this is a Git LFS pointer, not the file itself; run 'git lfs pull' or fetch it again");
  }
}

void check_no_overlap(const InputFile& file, std::vector<Extent>& extents) {
  std::sort(extents.begin(), extents.end(), [](const Extent& a, const Extent& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  for (size_t i = 1; i < extents.size(); ++i) {
    if (extents[i].begin < extents[i - 1].end) {
      file.refuse(fmt::format(
          "tensors {} and {} overlap at byte {}; the header is damaged, fetch "
          "the file again",
          printable(extents[i - 1].name), printable(extents[i].name), extents[i].begin));
    }
  }
}

FileTensorSource::FileTensorSource(std::vector<InputFile> inputs, std::vector<StoredTensor> tensors,
                                   std::map<std::string, std::string> unreadable,
                                   std::vector<std::string> extra_files)
    : inputs_(std::move(inputs)),
      unreadable_(std::move(unreadable)),
      extra_files_(std::move(extra_files)) {
  for (StoredTensor& tensor : tensors) {
    index_.emplace(tensor.info.name, infos_.size());
    places_.push_back({tensor.file, tensor.offset});
    infos_.push_back(std::move(tensor.info));
  }
  ensure(index_.size() == infos_.size(), "tensor names are unique");
}

const TensorInfo* FileTensorSource::find(const std::string& name) const {
  const auto found = index_.find(name);
  return found == index_.end() ? nullptr : &infos_[found->second];
}

const TensorInfo& FileTensorSource::require(const std::string& name) const {
  if (const auto found = unreadable_.find(name); found != unreadable_.end()) {
    throw Error(ErrorKind::input,
                fmt::format("tensor {} is stored as {}, and this build reads F32, F16 and BF16 "
                            "from safetensors; convert the checkpoint to one of these",
                            printable(name), found->second),
                {files().front()});
  }
  return TensorSource::require(name);
}

void FileTensorSource::read_rows(const std::string& name, int64_t row_begin, int64_t row_end,
                                 float* out) const {
  const TensorInfo& info = require(name);
  ensure(0 <= row_begin && row_begin <= row_end && row_end <= info.rows(),
         "rows are inside of the tensor");
  read_values(info, row_begin * info.row_size(), row_end * info.row_size(), out);
}

void FileTensorSource::read_columns(const std::string& name, Range rows, Range columns,
                                    float* out) const {
  const TensorInfo& info = require(name);
  const int64_t row_size = info.row_size();
  ensure(0 <= rows.begin && rows.begin <= rows.end && rows.end <= info.rows() &&
             0 <= columns.begin && columns.begin <= columns.end && columns.end <= row_size,
         "rows and columns are inside of the tensor");
  if (columns.size() == row_size) return read_rows(name, rows.begin, rows.end, out);
  if (rows.size() == 0 || columns.size() == 0) return;
  const int64_t block = storage_block_size(info.type);
  if (columns.begin % block != 0 || columns.end % block != 0) {
    inputs_[place_of(info).file].refuse(fmt::format(
        "tensor {} is stored as {} in blocks of {} values, which a cut of its rows at {} "
        "and {} would break; use fewer tensor-parallel ranks, or fetch the model in "
        "F16 or BF16",
        printable(name), storage_type_name(info.type), block, columns.begin, columns.end));
  }
  const int64_t piece = storage_bytes(info.type, columns.size());
  const int64_t most_rows = std::max<int64_t>(kChunkBytes / piece, 1);
  const auto bytes = make_buffer(std::min(most_rows, rows.size()) * piece);
  for (int64_t begin = rows.begin; begin < rows.end; begin += most_rows) {
    const int64_t count = std::min(most_rows, rows.end - begin);
    for (int64_t r = 0; r < count; ++r) {
      const int64_t row = (begin + r) * row_size;
      read_blocks(info, row + columns.begin, row + columns.end, bytes.get() + r * piece);
    }
    dequantize(info.type, bytes.get(), count * columns.size(), out);
    out += count * columns.size();
  }
}

void FileTensorSource::read_values(const TensorInfo& info, int64_t first, int64_t last,
                                   float* out) const {
  if (info.type == StorageType::f32) {
    if (first < last) read_blocks(info, first, last, reinterpret_cast<uint8_t*>(out));
    return;
  }
  const int64_t block = storage_block_size(info.type);
  const int64_t chunk = kChunkBytes / storage_bytes(info.type, block) * block;
  const auto bytes =
      make_buffer(storage_bytes(info.type, round_up(std::min(chunk, last - first), block)));
  while (first < last) {
    if (first % block == 0 && last - first >= block) {
      const int64_t count = std::min(chunk, (last - first) / block * block);
      read_blocks(info, first, first + count, bytes.get());
      dequantize(info.type, bytes.get(), count, out);
      first += count;
      out += count;
      continue;
    }
    // Rows of a quantised vector are single values and may begin or end inside a block.
    std::array<float, kMostBlockValues> values;
    const int64_t begin = first / block * block;
    const int64_t end = std::min(begin + block, last);
    read_blocks(info, begin, begin + block, bytes.get());
    dequantize(info.type, bytes.get(), block, values.data());
    out = std::copy(values.data() + (first - begin), values.data() + (end - begin), out);
    first = end;
  }
}

void FileTensorSource::read_blocks(const TensorInfo& info, int64_t first, int64_t last,
                                   uint8_t* bytes) const {
  const Place& place = place_of(info);
  const auto count = static_cast<size_t>(storage_bytes(info.type, last - first));
  inputs_[place.file].read_at(place.offset + static_cast<uint64_t>(storage_bytes(info.type, first)),
                              {bytes, count}, "tensor " + printable(info.name));
}

void FileTensorSource::expect_reading(const std::string& name) const {
  const TensorInfo* info = find(name);
  if (info == nullptr) return;
  const Place& place = place_of(*info);
  const int64_t values = info->rows() * info->row_size();
  inputs_[place.file].fetch_ahead(place.offset,
                                  static_cast<uint64_t>(storage_bytes(info->type, values)));
}

std::vector<std::string> FileTensorSource::files() const {
  std::vector<std::string> paths = extra_files_;
  for (const InputFile& input : inputs_) paths.push_back(input.path());
  return paths;
}

}  // namespace mechsweep
