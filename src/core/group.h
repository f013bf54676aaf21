#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace mechsweep {

/// The ranks that hold one model together (tensor parallel), and nothing else. All members must
/// make the same calls in the same order. Implementations: SoloGroup here, MpiGroup and NcclGroup
/// in mpi/.
class Group {
 public:
  virtual ~Group() = default;
  [[nodiscard]] virtual int rank() const = 0;
  [[nodiscard]] virtual int size() const = 0;

  /// Collective. Element-wise sum over the members, in an order that depends only on their ranks
  /// (a binary tree over ranks), in place; every member ends with the same bits.
  virtual void all_reduce_sum(std::span<float> values) = 0;
  /// Collective. Concatenates the members' `mine` in rank order; all parts have one length and
  /// `all` has size() times that.
  virtual void all_gather(std::span<const float> mine, std::span<float> all) = 0;
  /// Collective. Copies `bytes` of member `root` to every member.
  virtual void broadcast(std::span<uint8_t> bytes, int root) = 0;
  /// Collective. Returns when every member has called it.
  virtual void barrier() = 0;
};

/// A group of one rank: nothing to communicate.
class SoloGroup final : public Group {
 public:
  [[nodiscard]] int rank() const override { return 0; }
  [[nodiscard]] int size() const override { return 1; }
  void all_reduce_sum(std::span<float> /*values*/) override {}
  void all_gather(std::span<const float> mine, std::span<float> all) override;
  void broadcast(std::span<uint8_t> /*bytes*/, int /*root*/) override {}
  void barrier() override {}
};

/// Part `index` of `count` items cut into `parts` contiguous ranges whose sizes differ by at most
/// one: [begin, end). The same cut for every rank count, so that sums over parts are the same.
struct Range {
  int64_t begin = 0;
  int64_t end = 0;
  [[nodiscard]] int64_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};
Range even_part(int64_t count, int64_t parts, int64_t index);

}  // namespace mechsweep
