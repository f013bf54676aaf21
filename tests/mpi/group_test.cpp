#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "core/error.h"
#include "mpi/nccl_group.h"
#include "mpi_main.h"

namespace mechsweep {
namespace {

/// Vectors whose sum depends on the order of adding: magnitudes from 1e-6 to 1e6.
std::vector<float> vector_of(int rank, size_t count) {
  std::mt19937 random(static_cast<unsigned>(rank + 1));
  std::uniform_real_distribution<float> mantissa(-1.0F, 1.0F);
  std::uniform_int_distribution<int> exponent(-20, 20);
  std::vector<float> values(count);
  for (float& value : values) value = std::ldexp(mantissa(random), exponent(random));
  return values;
}

/// The sum over ranks [begin, end) by the tree that Group promises: the left half is the largest
/// power of two below the number of ranks.
float tree_sum(const std::vector<std::vector<float>>& all, size_t begin, size_t end, size_t i) {
  if (end - begin == 1) return all[begin][i];
  size_t half = 1;
  while (2 * half < end - begin) half *= 2;
  return tree_sum(all, begin, begin + half, i) + tree_sum(all, begin + half, end, i);
}

TEST(MpiGroup, SumsByTheSameTreeOnEveryMemberForEveryLength) {
  const auto group = test_world().split(0);
  ASSERT_EQ(group->size(), test_world().size());
  for (const size_t count :
       {size_t{0}, size_t{1}, size_t{7}, size_t{2048}, size_t{2049}, size_t{100003}}) {
    std::vector<std::vector<float>> all;
    for (int rank = 0; rank < group->size(); ++rank) all.push_back(vector_of(rank, count));
    std::vector<float> expected(count);
    for (size_t i = 0; i < count; ++i) expected[i] = tree_sum(all, 0, all.size(), i);
    for (int repeat = 0; repeat < 3; ++repeat) {
      auto mine = vector_of(group->rank(), count);
      group->all_reduce_sum(mine);
      ASSERT_EQ(std::memcmp(mine.data(), expected.data(), count * sizeof(float)), 0) << count;
    }
  }
}

TEST(MpiGroup, GathersAndBroadcasts) {
  const auto group = test_world().split(0);
  const int size = group->size();
  std::vector<float> mine(1000, static_cast<float>(group->rank()));
  std::vector<float> all(mine.size() * static_cast<size_t>(size), -1.0F);
  group->all_gather(mine, all);
  for (size_t i = 0; i < all.size(); ++i) ASSERT_EQ(all[i], static_cast<float>(i / 1000));
  for (int root = 0; root < size; ++root) {
    std::vector<uint8_t> bytes(3001, static_cast<uint8_t>(group->rank() + 1));
    group->broadcast(bytes, root);
    ASSERT_EQ(bytes, std::vector<uint8_t>(3001, static_cast<uint8_t>(root + 1)));
  }
  group->barrier();
}

TEST(NcclGroup, SaysThatThisBuildHasNoCuda) {
  SoloGroup solo;
  try {
    (void)make_nccl_group(solo, 0);
    ADD_FAILURE() << "made a group without CUDA";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::resource);
    EXPECT_NE(error.message().find("built without CUDA"), std::string::npos);
  }
}

}  // namespace
}  // namespace mechsweep
