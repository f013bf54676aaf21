#include "mpi/mpi_group.h"

#include <algorithm>
#include <exception>

#include "core/error.h"
#include "core/watchdog.h"

namespace mechsweep {
namespace {

/// Up to here every member gets every row and adds them all: one message round instead of two.
constexpr size_t kSmallSum = 2048;

/// Keeps element counts within MPI's int.
constexpr size_t kLargestPiece = size_t{1} << 28;

}  // namespace

void sum_rows_by_tree(std::span<float> rows, int parts, size_t count) {
  for (int step = 1; step < parts; step *= 2) {
    for (int row = 0; row + step < parts; row += 2 * step) {
      float* to = rows.data() + static_cast<size_t>(row) * count;
      const float* from = rows.data() + static_cast<size_t>(row + step) * count;
      for (size_t i = 0; i < count; ++i) to[i] += from[i];
    }
  }
}

MpiGroup::MpiGroup(MPI_Comm comm) : comm_(comm) {
  MPI_Comm_rank(comm_, &rank_);
  MPI_Comm_size(comm_, &size_);
}

MpiGroup::~MpiGroup() {
  int is_over = 0;
  MPI_Finalized(&is_over);
  // Freeing is collective: not while this rank may be leaving alone.
  if (is_over == 0 && std::uncaught_exceptions() == 0) MPI_Comm_free(&comm_);
}

void MpiGroup::all_reduce_sum(std::span<float> values) {
  if (size_ == 1) return;
  const Watchdog::Watch watch(Waiting::collective, "an all-reduce of a group");
  while (!values.empty()) {
    const auto piece = values.first(std::min(values.size(), kLargestPiece));
    if (piece.size() <= kSmallSum) {
      sum_everywhere(piece);
    } else {
      sum_by_shares(piece);
    }
    values = values.subspan(piece.size());
  }
}

void MpiGroup::sum_everywhere(std::span<float> values) {
  const auto count = static_cast<int>(values.size());
  scratch_.resize(values.size() * static_cast<size_t>(size_));
  MPI_Allgather(values.data(), count, MPI_FLOAT, scratch_.data(), count, MPI_FLOAT, comm_);
  sum_rows_by_tree(scratch_, size_, values.size());
  std::copy_n(scratch_.begin(), values.size(), values.begin());
}

void MpiGroup::sum_by_shares(std::span<float> values) {
  // Member r adds up share r of everyone's vector and hands the sums back: every element is added
  // once, so all members get the same bits, and each sends about twice the vector whatever the
  // size.
  const auto members = static_cast<size_t>(size_);
  std::vector<int> counts(members);
  std::vector<int> begins(members);
  for (int i = 0; i < size_; ++i) {
    const Range share = even_part(std::ssize(values), size_, i);
    begins[static_cast<size_t>(i)] = static_cast<int>(share.begin);
    counts[static_cast<size_t>(i)] = static_cast<int>(share.size());
  }
  const int mine = counts[static_cast<size_t>(rank_)];
  const std::vector<int> row_counts(members, mine);
  std::vector<int> row_begins(members);
  // A row is a share, so all of them together are about as long as the vector.
  for (int i = 0; i < size_; ++i) row_begins[static_cast<size_t>(i)] = i * mine;
  scratch_.resize(members * static_cast<size_t>(mine));
  MPI_Alltoallv(values.data(), counts.data(), begins.data(), MPI_FLOAT, scratch_.data(),
                row_counts.data(), row_begins.data(), MPI_FLOAT, comm_);
  sum_rows_by_tree(scratch_, size_, static_cast<size_t>(mine));
  MPI_Allgatherv(scratch_.data(), mine, MPI_FLOAT, values.data(), counts.data(), begins.data(),
                 MPI_FLOAT, comm_);
}

void MpiGroup::all_gather(std::span<const float> mine, std::span<float> all) {
  ensure(all.size() == mine.size() * static_cast<size_t>(size_),
         "an all-gather needs room for every member's part");
  ensure(mine.size() <= kLargestPiece, "an all-gather is too large for MPI");
  const Watchdog::Watch watch(Waiting::collective, "an all-gather of a group");
  const auto count = static_cast<int>(mine.size());
  MPI_Allgather(mine.data(), count, MPI_FLOAT, all.data(), count, MPI_FLOAT, comm_);
}

void MpiGroup::broadcast(std::span<uint8_t> bytes, int root) {
  const Watchdog::Watch watch(Waiting::collective, "a broadcast of a group");
  while (!bytes.empty()) {
    const auto piece = bytes.first(std::min(bytes.size(), kLargestPiece));
    MPI_Bcast(piece.data(), static_cast<int>(piece.size()), MPI_BYTE, root, comm_);
    bytes = bytes.subspan(piece.size());
  }
}

void MpiGroup::barrier() {
  const Watchdog::Watch watch(Waiting::collective, "a barrier of a group");
  MPI_Barrier(comm_);
}

}  // namespace mechsweep
