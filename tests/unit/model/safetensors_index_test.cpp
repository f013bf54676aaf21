#include <string>
#include <vector>

#include "checkpoint_files.h"
#include "core/json.h"

namespace mechsweep {
namespace {

using test_files::Bytes;
using test_files::expect_input_error;
using test_files::read_all;

/// A checkpoint of shards "one" (tensors a, b) and "two" (tensor c).
class SafetensorsIndex : public ::testing::Test {
 protected:
  SafetensorsIndex() {
    write_shard("one", {{"a", 1.0F}, {"b", 2.0F}});
    write_shard("two", {{"c", 3.0F}});
  }
  void write_shard(const std::string& file,
                   const std::vector<std::pair<std::string, float>>& tensors) {
    Json header = Json::object();
    Bytes data;
    for (const auto& [name, value] : tensors) {
      header[name] = {{"dtype", "F32"},
                      {"shape", {1}},
                      {"data_offsets", {data.size(), data.size() + sizeof value}}};
      data.put(value);
    }
    const std::string text = header.dump();
    folder_.write(file, Bytes().put<uint64_t>(text.size()).raw(text).raw(data.data()).data());
  }
  std::unique_ptr<TensorSource> open(const std::string& index) {
    folder_.write("model.safetensors.index.json", index);
    return open_safetensors(folder_.path());
  }
  void expect_refused(const std::string& index, const std::string& part) {
    expect_input_error([&] { open(index); }, part);
  }
  test_files::TempFolder folder_;
};

TEST_F(SafetensorsIndex, FindsEveryTensorInItsShard) {
  const auto source = open(R"({"metadata":{"total_size":12},
                               "weight_map":{"a":"one","b":"one","c":"two"}})");
  ASSERT_EQ(source->tensors().size(), 3U);
  EXPECT_EQ(read_all(*source, "a"), std::vector<float>{1.0F});
  EXPECT_EQ(read_all(*source, "b"), std::vector<float>{2.0F});
  EXPECT_EQ(read_all(*source, "c"), std::vector<float>{3.0F});
  const std::string folder = folder_.path();
  EXPECT_EQ(source->files(), (std::vector<std::string>{folder + "/model.safetensors.index.json",
                                                       folder + "/one", folder + "/two"}));
}

TEST_F(SafetensorsIndex, TensorsThatTheIndexLeavesOutAreLeftOut) {
  write_shard("two", {{"a", -1.0F}, {"c", 3.0F}});
  const auto source = open(R"({"weight_map":{"a":"one","c":"two"}})");
  ASSERT_EQ(source->tensors().size(), 2U);
  EXPECT_EQ(read_all(*source, "a"), std::vector<float>{1.0F});
  expect_input_error([&] { read_all(*source, "b"); }, "no tensor 'b'");
}

TEST_F(SafetensorsIndex, MissingShardIsNamed) {
  expect_refused(R"({"weight_map":{"a":"one","c":"three"}})",
                 "the index names shard 'three', which is not in the folder");
}

TEST_F(SafetensorsIndex, TensorThatTheShardLacksIsNamed) {
  expect_refused(R"({"weight_map":{"a":"one","b":"two"}})",
                 folder_.path() + "/two: the shard lacks tensor 'b'");
}

TEST_F(SafetensorsIndex, DamagedShardIsNamed) {
  folder_.write("two", "short");
  expect_refused(R"({"weight_map":{"a":"one","c":"two"}})", folder_.path() + "/two: truncated");
}

TEST_F(SafetensorsIndex, ShardsOutsideTheFolderAreRefused) {
  for (const char* shard :
       {"../one", "/etc/passwd", "x/../../one", "..", ".", "./one", "", "x/", "one\\u0000two"}) {
    SCOPED_TRACE(shard);
    expect_refused(R"({"weight_map":{"a":")" + std::string(shard) + "\"}}",
                   "not a file inside its folder");
  }
}

TEST_F(SafetensorsIndex, IndexThatIsNoIndexIsRefused) {
  expect_refused("", "not valid JSON");
  expect_refused("[1]", "no 'weight_map'");
  expect_refused("{}", "no 'weight_map'");
  expect_refused(R"({"weight_map":{}})", "no 'weight_map'");
  expect_refused(R"({"weight_map":[]})", "no 'weight_map'");
  expect_refused(R"({"weight_map":{"a":1}})", "not a file inside its folder");
  expect_refused(R"({"weight_map":{"a":"one","a":"two"}})", "has the name 'a' twice");
}

}  // namespace
}  // namespace mechsweep
