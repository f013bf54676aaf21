#include "model/tensor_reading.h"

#include <algorithm>
#include <memory>
#include <span>

#include "core/error.h"
#include "core/thread_pool.h"

namespace mechsweep {

namespace {

/// Values that a thread holds on their way to other places: about 1 MB, as much as is read at once.
constexpr int64_t kBufferValues = int64_t{1} << 18;
/// Rows and columns of the square that is transposed at a time: what is written stays in cache.
constexpr int64_t kSquare = 16;

bool is_transposed(const TensorRef& ref, const TensorInfo& info) {
  return ref.transposed && info.shape.size() == 2;
}

/// Lines of the stored tensor that become as many neighbouring rows of the result. A line is a
/// stored row, or a stored column of a transposed tensor.
struct Run {
  int64_t line = 0;
  int64_t row = 0;
  int64_t count = 0;
};

/// The line of a row that may still stand in its head's pairs.
int64_t line_of(const TensorRef& ref, int64_t row) {
  const RowPieces& pieces = ref.pieces;
  if (pieces.count == 0) return ref.rows.begin + row;
  return pieces.offset + row / pieces.size * pieces.stride + row % pieces.size;
}

/// The lines of `rows` of the `all` that there are, in the order of the file.
std::vector<Run> runs_of(const TensorRef& ref, int64_t all, Range rows) {
  std::vector<Run> runs;
  if (ref.interleaved_heads > 0) {
    // A head's rows are stored as (0, E/2, 1, E/2 + 1, ...).
    const int64_t size = all / ref.interleaved_heads;
    ensure(size % 2 == 0 && size * ref.interleaved_heads == all, "heads that cannot be in pairs");
    for (int64_t row = rows.begin; row < rows.end; ++row) {
      const int64_t place = row % size;
      const int64_t half = size / 2;
      const int64_t paired = row - place + place % half * 2 + place / half;
      runs.push_back({line_of(ref, paired), row - rows.begin, 1});
    }
  } else {
    for (int64_t row = rows.begin; row < rows.end;) {
      const int64_t size = ref.pieces.size;
      const int64_t end =
          ref.pieces.count > 0 ? std::min(rows.end, (row / size + 1) * size) : rows.end;
      runs.push_back({line_of(ref, row), row - rows.begin, end - row});
      row = end;
    }
  }
  std::sort(runs.begin(), runs.end(), [](const Run& a, const Run& b) { return a.line < b.line; });
  return runs;
}

/// Runs whose lines follow one another, to be read at once.
struct Part {
  int64_t line = 0;
  int64_t count = 0;
  std::span<const Run> runs;
};

/// The runs, long ones cut, in groups of at most `most` lines. `runs` gets the cuts.
std::vector<Part> parts_of(std::vector<Run>& runs, int64_t most) {
  std::vector<Run> cut;
  for (const Run& run : runs)
    for (int64_t done = 0; done < run.count; done += most)
      cut.push_back({run.line + done, run.row + done, std::min(most, run.count - done)});
  runs = std::move(cut);
  std::vector<Part> parts;
  for (size_t i = 0; i < runs.size(); ++i) {
    const bool follows = !parts.empty() && parts.back().line + parts.back().count == runs[i].line &&
                         parts.back().count + runs[i].count <= most;
    if (follows) {
      parts.back().count += runs[i].count;
      parts.back().runs = {parts.back().runs.data(), parts.back().runs.size() + 1};
    } else {
      parts.push_back({runs[i].line, runs[i].count, {&runs[i], 1}});
    }
  }
  return parts;
}

std::unique_ptr<float[]> make_buffer(int64_t values) {
  return std::make_unique_for_overwrite<float[]>(static_cast<size_t>(values));
}

/// Where columns are as many as there are, whole rows are asked for: one read instead of many.
void read_stored(const TensorSource& source, const TensorInfo& info, Range rows, Range columns,
                 float* out) {
  if (columns.size() == info.row_size()) {
    source.read_rows(info.name, rows.begin, rows.end, out);
  } else {
    source.read_columns(info.name, rows, columns, out);
  }
}

void read_straight(const TensorSource& source, const TensorInfo& info, std::vector<Run> runs,
                   Range columns, ThreadPool& threads, float* out) {
  const int64_t width = columns.size();
  if (runs.size() == 1 && width == info.row_size())
    return read_rows(source, info.name, {runs[0].line, runs[0].line + runs[0].count}, threads, out);
  const std::vector<Part> parts =
      parts_of(runs, std::max<int64_t>(kBufferValues / std::max<int64_t>(width, 1), 1));
  threads.parallel_for(std::ssize(parts), [&](int64_t p) {
    const Part& part = parts[static_cast<size_t>(p)];
    const Range lines = {part.line, part.line + part.count};
    if (part.runs.size() == 1)
      return read_stored(source, info, lines, columns, out + part.runs[0].row * width);
    const auto buffer = make_buffer(part.count * width);
    read_stored(source, info, lines, columns, buffer.get());
    for (const Run& run : part.runs)
      std::copy_n(buffer.get() + (run.line - part.line) * width, run.count * width,
                  out + run.row * width);
  });
}

/// Writes from [rows, columns] to `to`, whose rows are the columns, `stride` values apart.
void transpose(const float* from, int64_t rows, int64_t columns, int64_t stride, float* to) {
  for (int64_t top = 0; top < rows; top += kSquare)
    for (int64_t left = 0; left < columns; left += kSquare)
      for (int64_t j = left; j < std::min(left + kSquare, columns); ++j)
        for (int64_t i = top; i < std::min(top + kSquare, rows); ++i)
          to[j * stride + i] = from[i * columns + j];
}

/// Columns of the result are stored rows, its rows are stored columns.
void read_transposed(const TensorSource& source, const TensorInfo& info,
                     const std::vector<Run>& runs, Range columns, ThreadPool& threads, float* out) {
  int64_t widest = 1;
  for (const Run& run : runs) widest = std::max(widest, run.count);
  const int64_t share = (columns.size() + threads.size() - 1) / threads.size();
  const int64_t step = std::clamp<int64_t>(kBufferValues / widest, 1, std::max<int64_t>(share, 1));
  threads.parallel_for((columns.size() + step - 1) / step, [&](int64_t part) {
    const int64_t begin = columns.begin + part * step;
    const int64_t end = std::min(begin + step, columns.end);
    const auto buffer = make_buffer((end - begin) * widest);
    for (const Run& run : runs) {
      read_stored(source, info, {begin, end}, {run.line, run.line + run.count}, buffer.get());
      transpose(buffer.get(), end - begin, run.count, columns.size(),
                out + run.row * columns.size() + begin - columns.begin);
    }
  });
}

/// Whether the second takes the rows after the first one's.
bool continues(const TensorRef& first, const TensorRef& second) {
  const auto plain = [](const TensorRef& ref) {
    return ref.rows.size() > 0 && ref.pieces.count == 0 && ref.interleaved_heads == 0;
  };
  return plain(first) && plain(second) && first.name == second.name &&
         first.transposed == second.transposed && first.add_one == second.add_one &&
         first.rows.end == second.rows.begin;
}

}  // namespace

TensorExtent tensor_extent(const TensorSource& source, const TensorRef& ref) {
  const TensorInfo& info = source.require(ref.name);
  TensorExtent extent = {info.rows(), info.row_size()};
  if (is_transposed(ref, info)) std::swap(extent.rows, extent.columns);
  if (ref.pieces.count > 0) {
    extent.rows = ref.pieces.count * ref.pieces.size;
  } else if (ref.rows.size() > 0) {
    extent.rows = ref.rows.size();
  }
  return extent;
}

void read_tensor(const TensorSource& source, const TensorRef& ref, Range rows, Range columns,
                 ThreadPool& threads, float* out) {
  const TensorInfo& info = source.require(ref.name);
  const TensorExtent extent = tensor_extent(source, ref);
  ensure(0 <= rows.begin && rows.begin <= rows.end && rows.end <= extent.rows &&
             0 <= columns.begin && columns.begin <= columns.end && columns.end <= extent.columns,
         "a slice lies inside of its tensor");
  if (rows.size() == 0 || columns.size() == 0) return;
  std::vector<Run> runs = runs_of(ref, extent.rows, rows);
  if (is_transposed(ref, info)) {
    read_transposed(source, info, runs, columns, threads, out);
  } else {
    read_straight(source, info, std::move(runs), columns, threads, out);
  }
  if (!ref.add_one) return;
  for (int64_t i = 0; i < rows.size() * columns.size(); ++i) out[i] += 1.0F;
}

void read_tensor(const TensorSource& source, const TensorRef& ref, ThreadPool& threads,
                 float* out) {
  const TensorExtent extent = tensor_extent(source, ref);
  read_tensor(source, ref, {0, extent.rows}, {0, extent.columns}, threads, out);
}

std::vector<float> tensor_values(const TensorSource& source, const TensorRef& ref,
                                 ThreadPool& threads) {
  std::vector<float> values(static_cast<size_t>(tensor_extent(source, ref).values()));
  read_tensor(source, ref, threads, values.data());
  return values;
}

std::vector<TensorRef> joined_refs(const std::vector<TensorRef>& refs) {
  std::vector<TensorRef> joined;
  for (const TensorRef& ref : refs) {
    if (!joined.empty() && continues(joined.back(), ref)) {
      joined.back().rows.end = ref.rows.end;
    } else {
      joined.push_back(ref);
    }
  }
  return joined;
}

}  // namespace mechsweep
