#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "checkpoint_files.h"
#include "core/json.h"

namespace mechsweep {
namespace {

using test_files::Bytes;
using test_files::expect_input_error;
using test_files::read_all;
using test_files::TempFolder;

std::string file_bytes(const std::string& header, const std::string& data) {
  return Bytes().put<uint64_t>(header.size()).raw(header).raw(data).data();
}

constexpr const char* kSmallHeader =
    R"({"__metadata__":{"format":"pt"},)"
    R"("late":{"dtype":"F32","shape":[2,2],"data_offsets":[4,20]},)"
    R"("early":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}}  )";

std::string small_data() {
  return Bytes()
      .put<uint16_t>(0x3c00)
      .put<uint16_t>(0xc000)
      .put(1.5F)
      .put(2.5F)
      .put(3.5F)
      .put(4.5F)
      .data();
}

class Safetensors : public ::testing::Test {
 protected:
  std::unique_ptr<TensorSource> open(const std::string& header, const std::string& data) {
    folder_.write("model.safetensors", file_bytes(header, data));
    return open_safetensors(folder_.path());
  }
  TempFolder folder_;
};

TEST_F(Safetensors, ReadsTensorsInTheOrderOfTheirData) {
  const auto source = open(kSmallHeader, small_data());
  ASSERT_EQ(source->tensors().size(), 2U);
  EXPECT_EQ(source->tensors()[0].name, "early");
  EXPECT_EQ(source->tensors()[0].type, StorageType::f16);
  EXPECT_EQ(source->tensors()[1].shape, (std::vector<int64_t>{2, 2}));
  EXPECT_EQ(read_all(*source, "early"), (std::vector<float>{1.0F, -2.0F}));
  EXPECT_EQ(read_all(*source, "late"), (std::vector<float>{1.5F, 2.5F, 3.5F, 4.5F}));
  std::vector<float> row(2);
  source->read_rows("late", 1, 2, row.data());
  EXPECT_EQ(row, (std::vector<float>{3.5F, 4.5F}));
  EXPECT_EQ(source->files(), std::vector<std::string>{folder_.path() + "/model.safetensors"});
}

TEST_F(Safetensors, ReadsScalarsAndEmptyTensors) {
  const auto source = open(R"({"s":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},)"
                           R"("e":{"dtype":"F32","shape":[0,5],"data_offsets":[2,2]}})",
                           std::string("\x80\x3f", 2));
  EXPECT_EQ(read_all(*source, "s"), std::vector<float>{1.0F});
  EXPECT_EQ(read_all(*source, "e"), std::vector<float>{});
}

TEST_F(Safetensors, BuffersOfOtherTypesAreNotListedButExplained) {
  const auto source = open(R"({"mask":{"dtype":"BOOL","shape":[2],"data_offsets":[0,2]},)"
                           R"("w":{"dtype":"BF16","shape":[1],"data_offsets":[2,4]}})",
                           std::string("\x01\x00\x80\x3f", 4));
  EXPECT_EQ(source->tensors().size(), 1U);
  EXPECT_EQ(source->find("mask"), nullptr);
  EXPECT_EQ(read_all(*source, "w"), std::vector<float>{1.0F});
  expect_input_error([&] { read_all(*source, "mask"); }, "tensor 'mask' is stored as BOOL");
}

TEST_F(Safetensors, TruncationAnywhereIsRefused) {
  const std::string bytes = file_bytes(kSmallHeader, small_data());
  for (size_t length = 0; length < bytes.size(); ++length) {
    const std::string path = folder_.write("model.safetensors", bytes.substr(0, length));
    SCOPED_TRACE(length);
    expect_input_error([&] { open_safetensors(folder_.path()); }, path + ": truncated: ");
  }
}

TEST_F(Safetensors, TruncatedTensorIsNamedWithWhatIsMissing) {
  const size_t begin = 8 + std::string(kSmallHeader).size() + 4;
  expect_input_error([&] { open(kSmallHeader, small_data().substr(0, 19)); },
                     fmt::format("tensor 'late' needs 16 bytes at {}, the file has {}; fetch it "
                                 "again",
                                 begin, begin + 15));
}

TEST_F(Safetensors, NoFlippedByteOfTheHeaderDoesHarm) {
  const std::string bytes = file_bytes(kSmallHeader, small_data());
  size_t refused = 0;
  for (size_t i = 0; i < bytes.size() - small_data().size(); ++i) {
    for (const int flip : {0x01, 0x02, 0x04, 0x10, 0x80, 0xff}) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ flip);
      folder_.write("model.safetensors", damaged);
      refused += !test_files::opens_or_refuses([&] { return open_safetensors(folder_.path()); });
    }
  }
  EXPECT_GT(refused, 400U);  // JSON forgives little
}

TEST_F(Safetensors, FolderWithoutWeightsIsRefused) {
  expect_input_error([&] { open_safetensors(folder_.path()); }, "neither model.safetensors nor");
  expect_input_error([&] { open_safetensors(folder_.path() + "/none"); }, folder_.path() + "/none");
  folder_.write("model.safetensors", "version https://git-lfs.github.com/spec/v1\noid sha256:0");
  expect_input_error([&] { open_safetensors(folder_.path()); }, "Git LFS pointer");
}

struct BadHeader {
  std::string name;
  std::string header;
  std::string answer;
};

void PrintTo(const BadHeader& bad, std::ostream* out) {
  *out << bad.name;
}

class SafetensorsLie : public Safetensors, public ::testing::WithParamInterface<BadHeader> {};

TEST_P(SafetensorsLie, IsRefused) {
  expect_input_error([&] { open(GetParam().header, std::string(8, '\0')); }, GetParam().answer);
}

/// A header with one tensor "t" of this description.
std::string one(const std::string& description) {
  return R"({"t":{)" + description + "}}";
}

std::string name_of(const ::testing::TestParamInfo<BadHeader>& bad) {
  return bad.param.name;
}

const std::string kPair = R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},)";

INSTANTIATE_TEST_SUITE_P(
    Json, SafetensorsLie,
    ::testing::Values(
        BadHeader{"Empty", "", "not valid JSON"}, BadHeader{"NotJson", "{\"t\":", "not valid JSON"},
        BadHeader{"NotUtf8", "{\"\xff\":1}", "not valid JSON"},
        BadHeader{"NotAnObject", "[]", "not a JSON object"},
        BadHeader{"Deep", std::string(100000, '['), "nested deeper than 64"},
        BadHeader{"NameTwice", "{" + kPair + kPair + "\"b\":1}", "has the name 'a' twice"},
        BadHeader{"KeyTwice", one(R"("dtype":"F32","dtype":"F16")"), "has the name 'dtype' twice"},
        BadHeader{"MetadataNoMap", R"({"__metadata__":[]})", "'__metadata__'"},
        BadHeader{"MetadataNoText", R"({"__metadata__":{"a":1}})", "'__metadata__'"},
        BadHeader{"TensorNoObject", R"({"t":[1]})", "tensor 't' is not described by an object"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Description, SafetensorsLie,
    ::testing::Values(
        BadHeader{"NoType", one(R"("shape":[2],"data_offsets":[0,8])"),
                  "tensor 't' has no 'dtype'"},
        BadHeader{"OddType", one(R"("dtype":"Q9","shape":[2],"data_offsets":[0,8])"),
                  "tensor 't' is stored as 'Q9'"},
        BadHeader{"NoShape", one(R"("dtype":"F32","data_offsets":[0,8])"), "no 'shape'"},
        BadHeader{"ShapeBelowZero", one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"),
                  "no 'shape' that lists whole numbers"},
        BadHeader{"ShapeOfFractions", one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"),
                  "no 'shape' that lists whole numbers"},
        BadHeader{"ShapeBeyondInt64",
                  one(R"("dtype":"F32","shape":[9223372036854775808],"data_offsets":[0,8])"),
                  "no 'shape' that lists whole numbers"},
        BadHeader{"CountThatWraps",
                  one(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0])"),
                  "not those of its shape"},
        BadHeader{"CountThatWrapsBehindAZero",
                  one(R"("dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0])"),
                  "not those of its shape"},
        BadHeader{"BytesThatWrap",
                  one(R"("dtype":"F32","shape":[4611686018427387904],"data_offsets":[0,0])"),
                  "not those of its shape"},
        BadHeader{"ShapeTooSmall", one(R"("dtype":"F32","shape":[1],"data_offsets":[0,8])"),
                  "tensor 't' has 8 bytes, which are not those of its shape and type F32"},
        BadHeader{"NoOffsets", one(R"("dtype":"F32","shape":[2])"), "no 'data_offsets'"},
        BadHeader{"ThreeOffsets", one(R"("dtype":"F32","shape":[2],"data_offsets":[0,4,8])"),
                  "not a begin and an end"},
        BadHeader{"OffsetsBackwards", one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"),
                  "not a begin and an end"},
        BadHeader{"BeyondTheFile", one(R"("dtype":"F32","shape":[3],"data_offsets":[0,12])"),
                  "truncated: tensor 't' needs 12 bytes"},
        BadHeader{"FarBeyondTheFile",
                  one(R"("dtype":"U8","shape":[1],"data_offsets":)"
                      "[9223372036854775806,9223372036854775807]"),
                  "truncated: tensor 't'"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Layout, SafetensorsLie,
    ::testing::Values(
        BadHeader{"Overlap",
                  "{" + kPair + R"("b":{"dtype":"F16","shape":[3],"data_offsets":[2,8]}})",
                  "tensors 'a' and 'b' overlap"},
        BadHeader{"OverlapWithAMask",
                  "{" + kPair + R"("b":{"dtype":"BOOL","shape":[5],"data_offsets":[3,8]}})",
                  "tensors 'a' and 'b' overlap"},
        BadHeader{"Gap", "{" + kPair + R"("b":{"dtype":"F16","shape":[1],"data_offsets":[6,8]}})",
                  "tensor 'b' begins at byte"},
        BadHeader{"BytesLeftOver", one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])"),
                  "the tensors end at byte"}),
    name_of);

TEST_F(Safetensors, HugeHeaderLengthIsRefusedBeforeAnythingIsAllocated) {
  for (const uint64_t length : {uint64_t{1} << 40, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    folder_.write("model.safetensors", Bytes().put(length).raw("{}").data());
    expect_input_error([&] { open_safetensors(folder_.path()); },
                       fmt::format("would have {} bytes", length));
  }
}

TEST_F(Safetensors, PublishedLibraryAgreesOnTheRandomCheckpoints) {
  const std::string golden = MECHSWEEP_SOURCE_DIR "/tests/golden/";
  std::ifstream file(golden + "safetensors_values.json");
  ASSERT_TRUE(file.good());
  const Json checkpoints = Json::parse(file)["checkpoints"];
  ASSERT_GE(checkpoints.size(), 3U);
  for (const auto& [folder, tensors] : checkpoints.items()) {
    const auto source = open_safetensors(golden + "checkpoints/" + folder);
    EXPECT_EQ(source->tensors().size(), tensors.size()) << folder;
    for (const auto& [name, expected] : tensors.items()) {
      SCOPED_TRACE(folder + " " + name);
      const TensorInfo& info = source->require(name);
      EXPECT_EQ(storage_type_name(info.type), expected["dtype"].get<std::string>());
      EXPECT_EQ(info.shape, expected["shape"].get<std::vector<int64_t>>());
      const std::vector<float> values = read_all(*source, name);
      double sum = 0;
      double magnitude = 0;
      for (const float value : values) {
        sum += value;
        magnitude += std::abs(value);
      }
      EXPECT_NEAR(sum, expected["sum"].get<double>(), 1e-12 * magnitude);
      for (size_t i = 0; i < expected["first"].size(); ++i) {
        EXPECT_EQ(values[i], expected["first"][i].get<double>());
      }
      EXPECT_EQ(values.back(), expected["last"].get<double>());
    }
  }
}

}  // namespace
}  // namespace mechsweep
