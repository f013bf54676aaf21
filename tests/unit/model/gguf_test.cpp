#include <cmath>
#include <filesystem>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint_files.h"
#include "gguf_spec.h"

namespace mechsweep {
namespace {

using namespace test_files;  // the value and tensor types, and the makers of files

TEST_F(Gguf, ReadsTensorsWithShapesOutermostFirst) {
  const GgufFile file = open(small_file());
  const auto& tensors = file.tensors->tensors();
  ASSERT_EQ(tensors.size(), 2U);
  EXPECT_EQ(tensors[0].name, "a.weight");
  EXPECT_EQ(tensors[0].shape, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(tensors[1].type, StorageType::q8_0);
  EXPECT_EQ(read_all(*file.tensors, "a.weight"), (std::vector<float>{0, 1, 2, 3, 4, 5}));
  std::vector<float> row(3);
  file.tensors->read_rows("a.weight", 1, 2, row.data());
  EXPECT_EQ(row, (std::vector<float>{3, 4, 5}));
  EXPECT_EQ(file.tensors->files(), std::vector<std::string>{folder_.path() + "/x.gguf"});
}

TEST_F(Gguf, ReadsAnyElementsOfAQuantisedVector) {
  const GgufFile file = open(small_file());
  for (int64_t begin = 0; begin <= 64; begin += 7) {
    for (int64_t end = begin; end <= 64; end += 3) {
      std::vector<float> values(static_cast<size_t>(end - begin) + 1, -1.0F);
      file.tensors->read_rows("b.weight", begin, end, values.data());
      for (int64_t i = begin; i < end; ++i) {
        ASSERT_EQ(values[static_cast<size_t>(i - begin)], static_cast<float>(i));
      }
      EXPECT_EQ(values.back(), -1.0F);  // nothing is written past the end
    }
  }
}

TEST_F(Gguf, ReadsMetadataOfEveryType) {
  GgufSpec spec = small_file();
  spec.version = 2;
  spec.entry<uint8_t>("u8", kU8, 255);
  spec.entry<int8_t>("i8", kI8, -128);
  spec.entry<uint16_t>("u16", kU16, 65535);
  spec.entry<int16_t>("i16", kI16, -32768);
  spec.entry<int32_t>("i32", kI32, -5);
  spec.entry<float>("f32", kF32, 1e-5F);
  spec.entry<uint8_t>("yes", kBool, 1);
  spec.entry<uint64_t>("u64", kU64, std::numeric_limits<uint64_t>::max());
  spec.entry<int64_t>("i64", kI64, std::numeric_limits<int64_t>::min());
  spec.entry<double>("f64", kF64, 0.1);
  spec.entry<float>("nan", kF32, std::numeric_limits<float>::quiet_NaN());
  spec.entry_raw("empty", kArray, Bytes().put<uint32_t>(kText).put<uint64_t>(0));
  spec.entry_raw("nested", kArray,
                 Bytes()
                     .put<uint32_t>(kArray)
                     .put<uint64_t>(1)
                     .put<uint32_t>(kU8)
                     .put<uint64_t>(2)
                     .put<uint8_t>(7)
                     .put<uint8_t>(9));
  const Json metadata = open(spec).metadata;
  EXPECT_EQ(metadata["general.architecture"], "llama");
  EXPECT_EQ(metadata["llama.block_count"], 2);
  EXPECT_EQ(metadata["tokenizer.ggml.tokens"], Json({"a", "bc"}));
  EXPECT_EQ(metadata["u8"], 255);
  EXPECT_EQ(metadata["i8"], -128);
  EXPECT_EQ(metadata["u16"], 65535);
  EXPECT_EQ(metadata["i16"], -32768);
  EXPECT_EQ(metadata["i32"], -5);
  EXPECT_EQ(metadata["f32"].get<float>(), 1e-5F);
  EXPECT_EQ(metadata["yes"], true);
  EXPECT_EQ(metadata["u64"].get<uint64_t>(), std::numeric_limits<uint64_t>::max());
  EXPECT_EQ(metadata["i64"].get<int64_t>(), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(metadata["f64"].get<double>(), 0.1);
  EXPECT_TRUE(std::isnan(metadata["nan"].get<float>()));
  EXPECT_EQ(metadata["empty"], Json::array());
  EXPECT_EQ(metadata["nested"], Json::array({Json::array({7, 9})}));
}

TEST_F(Gguf, ReadsManyAndLongTexts) {
  // Longer together, and one of them alone, than any read buffer.
  Bytes tokens;
  tokens.put<uint32_t>(kText).put<uint64_t>(49152);
  for (int i = 0; i < 49152; ++i) tokens.text(std::to_string(i));
  GgufSpec spec = small_file();
  spec.entry_raw("tokens", kArray, tokens);
  spec.entry_raw("long", kText, Bytes().text(std::string(3'000'000, 'x') + "end"));
  const GgufFile file = open(spec);
  ASSERT_EQ(file.metadata["tokens"].size(), 49152U);
  for (int i = 0; i < 49152; ++i) ASSERT_EQ(file.metadata["tokens"][i], std::to_string(i));
  EXPECT_EQ(file.metadata["long"].get<std::string>(), std::string(3'000'000, 'x') + "end");
  EXPECT_EQ(read_all(*file.tensors, "a.weight").back(), 5.0F);
}

TEST_F(Gguf, HonoursTheAlignmentOfTheFile) {
  GgufSpec spec = small_file();
  spec.alignment = 4096;
  spec.entry<uint32_t>("general.alignment", kU32, 4096);
  spec.tensors = {{"only", {1}, kTypeF32, 4096}};
  spec.data = Bytes().put(0.0F).pad_to(4096).put(42.0F).data();
  EXPECT_EQ(read_all(*open(spec).tensors, "only"), std::vector<float>{42.0F});
}

TEST_F(Gguf, ReadsTensorsLargerThanAChunk) {
  // Half-precision subnormals m * 2^-24: every value tells its place.
  constexpr uint64_t kColumns = (1U << 21) + 33;
  constexpr uint64_t kRows = 3;
  GgufSpec spec = small_file();
  spec.tensors = {{"large", {kColumns, kRows}, kTypeF16, 0}};
  Bytes data;
  for (uint64_t i = 0; i < kRows * kColumns; ++i) data.put(static_cast<uint16_t>(i % 1021));
  spec.data = data.data();
  const GgufFile file = open(spec);
  const std::vector<float> values = read_all(*file.tensors, "large");
  for (uint64_t i = 0; i < values.size(); ++i) {
    ASSERT_EQ(values[i], std::ldexp(static_cast<float>(i % 1021), -24)) << i;
  }
  std::vector<float> row(kColumns);
  file.tensors->read_rows("large", 2, 3, row.data());
  EXPECT_TRUE(std::equal(row.begin(), row.end(), values.begin() + 2 * kColumns));
}

TEST_F(Gguf, TruncationAnywhereIsRefused) {
  const std::string bytes = small_file().bytes();
  for (size_t length = 0; length < bytes.size(); ++length) {
    const std::string path = folder_.write("short.gguf", bytes.substr(0, length));
    SCOPED_TRACE(length);
    expect_input_error([&] { open_gguf(path); }, "truncated");
    expect_input_error([&] { open_gguf(path); }, path);
  }
}

TEST_F(Gguf, TruncatedTensorIsNamedWithWhatIsMissing) {
  GgufSpec spec = small_file();
  const size_t begin = spec.header().pad_to(32).size() + 32;
  spec.data.pop_back();
  expect_refused(spec, fmt::format("truncated: tensor 'b.weight' needs 68 bytes at {}, the file "
                                   "has {}; fetch it again",
                                   begin, begin + 67));
}

TEST_F(Gguf, NoFlippedByteOfTheHeaderDoesHarm) {
  const GgufSpec spec = small_file();
  const std::string bytes = spec.bytes();
  size_t refused = 0;
  for (size_t i = 0; i < spec.header().size(); ++i) {
    for (const int flip : {0x01, 0x02, 0x10, 0x40, 0x80, 0xff}) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ flip);
      const std::string path = folder_.write("flipped.gguf", damaged);
      refused += !test_files::opens_or_refuses([&] { return std::move(open_gguf(path).tensors); });
    }
  }
  EXPECT_GT(refused, 100U);  // most of the header is structure
}

TEST_F(Gguf, FileThatShrinksAfterOpeningIsRefused) {
  const GgufFile file = open(small_file());
  std::filesystem::resize_file(folder_.path() + "/x.gguf", 100);
  expect_input_error([&] { read_all(*file.tensors, "b.weight"); }, "tensor 'b.weight'");
}

TEST_F(Gguf, MissingTensorIsNamedWithItsNearest) {
  const GgufFile file = open(small_file());
  EXPECT_EQ(file.tensors->find("a.weigth"), nullptr);
  expect_input_error([&] { read_all(*file.tensors, "a.weigth"); },
                     "no tensor 'a.weigth' (the nearest that is there is 'a.weight')");
}

TEST_F(Gguf, WhatIsNoGgufFileIsRefused) {
  expect_input_error([&] { open_gguf(folder_.path() + "/none.gguf"); }, "cannot be opened");
  expect_input_error([&] { open_gguf(folder_.path()); }, "not a regular file");
  const std::string pointer =
      folder_.write("lfs.gguf", "version https://git-lfs.github.com/spec/v1");
  expect_input_error([&] { open_gguf(pointer); }, "Git LFS pointer");
}

}  // namespace
}  // namespace mechsweep
