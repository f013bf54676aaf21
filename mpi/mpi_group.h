#pragma once

#include <mpi.h>

#include <vector>

#include "core/group.h"

namespace mechsweep {

/// A Group over the ranks of a communicator, which it owns. MPI only moves bytes: sums are done
/// here, by every member in the same order, so they do not depend on MPI's choice of algorithm.
class MpiGroup final : public Group {
 public:
  explicit MpiGroup(MPI_Comm comm);
  ~MpiGroup() override;
  MpiGroup(const MpiGroup&) = delete;
  MpiGroup& operator=(const MpiGroup&) = delete;

  [[nodiscard]] int rank() const override { return rank_; }
  [[nodiscard]] int size() const override { return size_; }
  void all_reduce_sum(std::span<float> values) override;
  void all_gather(std::span<const float> mine, std::span<float> all) override;
  void broadcast(std::span<uint8_t> bytes, int root) override;
  void barrier() override;

 private:
  void sum_everywhere(std::span<float> values);
  void sum_by_shares(std::span<float> values);

  MPI_Comm comm_;
  int rank_ = 0;
  int size_ = 1;
  std::vector<float> scratch_;
};

/// Sums `parts` rows of `count` floats (row r is rank r's) into the first row by the binary tree
/// that Group::all_reduce_sum promises: in round s = 1, 2, 4, ... row r takes row r + s for every r
/// that is a multiple of 2s.
void sum_rows_by_tree(std::span<float> rows, int parts, size_t count);

}  // namespace mechsweep
