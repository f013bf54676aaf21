#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "checkpoint_files.h"
#include "gguf_spec.h"

// Every way a GGUF file can lie about itself, one at a time: each must end in Error{input} that
// names what is wrong, before anything is allocated or read because of it.

namespace mechsweep {
namespace {

using namespace test_files;

constexpr uint64_t kHuge = uint64_t{1} << 60;
constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();

struct Lie {
  std::string name;
  std::function<void(GgufSpec&)> tell;
  std::string answer;
};

void PrintTo(const Lie& lie, std::ostream* out) {
  *out << lie.name;
}

class GgufLie : public Gguf, public ::testing::WithParamInterface<Lie> {};

TEST_P(GgufLie, IsRefused) {
  GgufSpec spec = small_file();
  GetParam().tell(spec);
  expect_refused(spec, GetParam().answer);
}

std::string name_of(const ::testing::TestParamInfo<Lie>& lie) {
  return lie.param.name;
}

INSTANTIATE_TEST_SUITE_P(
    Start, GgufLie,
    ::testing::Values(
        Lie{"Magic", [](GgufSpec& s) { s.magic = "GGML"; }, "not a GGUF file"},
        Lie{"VersionOne", [](GgufSpec& s) { s.version = 1; }, "GGUF version 1"},
        Lie{"VersionFour", [](GgufSpec& s) { s.version = 4; }, "GGUF version 4"},
        Lie{"BigEndian", [](GgufSpec& s) { s.version = 0x03000000; }, "big-endian"},
        Lie{"HugeTensorCount", [](GgufSpec& s) { s.extra_tensors = kHuge; }, "the list of tensors"},
        Lie{"HugeEntryCount", [](GgufSpec& s) { s.extra_entries = kHuge; }, "the metadata needs"},
        Lie{"OneEntryTooMany", [](GgufSpec& s) { s.extra_entries = 1; },
            "truncated: the name of tensor 0"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Metadata, GgufLie,
    ::testing::Values(
        Lie{"KeyTwice", [](GgufSpec& s) { s.entries.push_back(s.entries[1]); },
            "metadata 'llama.block_count' is there twice"},
        Lie{"EmptyKey", [](GgufSpec& s) { s.entry<uint8_t>("", kU8, 0); },
            "the key of metadata entry 3 is empty"},
        Lie{"HugeKey",
            [](GgufSpec& s) { s.entries.push_back(Bytes().put<uint64_t>(kHuge).data()); },
            "truncated: the key of metadata entry 3 needs 1152921504606846976 bytes"},
        Lie{"LongKey", [](GgufSpec& s) { s.entry<uint8_t>(std::string(65536, 'k'), kU8, 0); },
            "text of 65536 bytes"},
        Lie{"UnknownType", [](GgufSpec& s) { s.entry<uint8_t>("odd", 13, 0); },
            "metadata 'odd' has the unknown value type 13"},
        Lie{"HugeText", [](GgufSpec& s) { s.entry<uint64_t>("text", kText, kMost); },
            "truncated: metadata 'text' needs 18446744073709551615 bytes"},
        Lie{"BooleanOfTwo", [](GgufSpec& s) { s.entry<uint8_t>("flag", kBool, 2); },
            "metadata 'flag' holds 2 where a boolean"},
        Lie{"HugeArray",
            [](GgufSpec& s) {
              s.entry_raw("list", kArray, Bytes().put<uint32_t>(kU8).put<uint64_t>(kMost));
            },
            "truncated: metadata 'list' needs 18446744073709551615 items"},
        Lie{"HugeArrayWhoseBytesWrap",
            [](GgufSpec& s) {
              s.entry_raw("list", kArray, Bytes().put<uint32_t>(kU64).put<uint64_t>(kHuge << 1));
            },
            "truncated: metadata 'list' needs 2305843009213693952 items"},
        Lie{"ArrayOfUnknownType",
            [](GgufSpec& s) {
              s.entry_raw("list", kArray, Bytes().put<uint32_t>(99).put<uint64_t>(0));
            },
            "unknown value type 99"},
        Lie{"DeepArray",
            [](GgufSpec& s) {
              Bytes nested;
              for (int i = 0; i < 10000; ++i) nested.put<uint32_t>(kArray).put<uint64_t>(1);
              s.entry_raw("deep", kArray, nested);
            },
            "metadata 'deep' nests arrays deeper than 4"},
        Lie{"AlignmentOfThree",
            [](GgufSpec& s) { s.entry<uint32_t>("general.alignment", kU32, 3); },
            "'general.alignment' is not a power of two"},
        Lie{"AlignmentOfZero", [](GgufSpec& s) { s.entry<uint32_t>("general.alignment", kU32, 0); },
            "'general.alignment' is not a power of two"},
        Lie{"AlignmentBeyondReason",
            [](GgufSpec& s) { s.entry<uint64_t>("general.alignment", kU64, uint64_t{1} << 63); },
            "'general.alignment' is not a power of two"},
        Lie{"AlignmentBelowZero",
            [](GgufSpec& s) { s.entry<int32_t>("general.alignment", kI32, -32); },
            "'general.alignment' is not a power of two"},
        Lie{"AlignmentAsText",
            [](GgufSpec& s) { s.entry_raw("general.alignment", kText, Bytes().text("32")); },
            "'general.alignment' is not a power of two"},
        Lie{"PartOfASplit", [](GgufSpec& s) { s.entry<uint16_t>("split.count", kU16, 3); },
            "one of 3 parts"}),
    name_of);

INSTANTIATE_TEST_SUITE_P(
    Tensors, GgufLie,
    ::testing::Values(
        Lie{"NameTwice", [](GgufSpec& s) { s.tensors[1].name = "a.weight"; },
            "tensor 'a.weight' is there twice"},
        Lie{"EmptyName", [](GgufSpec& s) { s.tensors[1].name = ""; },
            "the name of tensor 1 is empty"},
        Lie{"NoDimensions", [](GgufSpec& s) { s.tensors[0].dimensions = {}; },
            "tensor 'a.weight' has 0 dimensions"},
        Lie{"FiveDimensions",
            [](GgufSpec& s) {
              s.tensors[0].dimensions = {1, 1, 1, 1, 6};
            },
            "tensor 'a.weight' has 5 dimensions"},
        Lie{"DimensionOfZero",
            [](GgufSpec& s) {
              s.tensors[0].dimensions = {3, 0};
            },
            "tensor 'a.weight' has a dimension of 0"},
        Lie{"DimensionBelowZero",
            [](GgufSpec& s) {
              s.tensors[0].dimensions = {3, kMost};
            },
            "has a dimension of 18446744073709551615"},
        Lie{"CountThatWraps",
            [](GgufSpec& s) {
              s.tensors[0].dimensions = {kHuge, kHuge, kHuge, kHuge};
            },
            "more values than can be counted"},
        Lie{"BytesThatWrap",
            [](GgufSpec& s) {
              s.tensors[0].dimensions = {kHuge, 4};
            },
            "more values than can be counted"},
        Lie{"LargerThanTheFile",
            [](GgufSpec& s) {
              s.tensors[1].dimensions = {64, 1000000};
            },
            "truncated: tensor 'b.weight' needs 68000000 bytes"},
        Lie{"UnsupportedType", [](GgufSpec& s) { s.tensors[1].type = kTypeIq4Xs; },
            "tensor 'b.weight' is stored as IQ4_XS, and this build reads F32, F16, BF16, Q4_0, "
            "Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K and IQ4_NL from GGUF"},
        Lie{"NewerType", [](GgufSpec& s) { s.tensors[1].type = kTypeMxfp4; },
            "tensor 'b.weight' is stored as MXFP4"},
        Lie{"UnknownType", [](GgufSpec& s) { s.tensors[1].type = 4242; },
            "tensor 'b.weight' is stored as number 4242"},
        Lie{"RowsOfHalfABlock",
            [](GgufSpec& s) {
              s.tensors[1].dimensions = {16, 4};
            },
            "tensor 'b.weight' has rows of 16 values"},
        Lie{"RowsOfAQuarterOfASuperBlock", [](GgufSpec& s) { s.tensors[1].type = kTypeQ4K; },
            "tensor 'b.weight' has rows of 64 values, which is no multiple of the 256 of a Q4_K"},
        Lie{"OffsetOffTheAlignment", [](GgufSpec& s) { s.tensors[1].offset = 33; },
            "tensor 'b.weight' begins at 33, which is no multiple of the alignment 32"},
        Lie{"OffsetBeyondTheFile", [](GgufSpec& s) { s.tensors[1].offset = kHuge; },
            "truncated: tensor 'b.weight'"},
        Lie{"OffsetThatWraps", [](GgufSpec& s) { s.tensors[1].offset = kMost - 31; },
            "beyond any file"},
        Lie{"Overlap", [](GgufSpec& s) { s.tensors[1].offset = 0; }, "overlap"},
        Lie{"SameBytesTwice",
            [](GgufSpec& s) {
              s.tensors[1] = s.tensors[0];
              s.tensors[1].name = "c.weight";
            },
            "tensors 'a.weight' and 'c.weight' overlap"}),
    name_of);

/// A file that is large without taking space: what it claims does fit into it.
TEST_F(Gguf, ClaimsThatFitAHugeFileStillAllocateLittle) {
  struct Claim {
    Bytes entry;
    std::string answer;
  };
  const uint64_t four_gib = uint64_t{1} << 32;
  const std::vector<Claim> claims = {
      {Bytes().text("t").put<uint32_t>(kText).put(four_gib), "text of 4294967296 bytes"},
      {Bytes().text("a").put<uint32_t>(kArray).put<uint32_t>(kU8).put(four_gib), "array items"},
      {Bytes().put(four_gib), "text of 4294967296 bytes"}};
  for (const Claim& claim : claims) {
    GgufSpec spec;
    spec.entries.push_back(claim.entry.data());
    const std::string path = folder_.write("sparse.gguf", spec.bytes());
    std::error_code error;
    std::filesystem::resize_file(path, 3 * four_gib, error);
    if (error) GTEST_SKIP() << "no sparse files here: " << error.message();
    expect_input_error([&] { open_gguf(path); }, claim.answer);
  }
}

TEST_F(Gguf, NamesInMessagesAreShortAndPrintable) {
  GgufSpec spec = small_file();
  spec.tensors[0].name = "bad\n\x1b[31m" + std::string(1000, 'x');
  spec.tensors[0].dimensions = {};
  try {
    open(spec);
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.message().find_first_of("\n\x1b"), std::string::npos);
    EXPECT_LT(error.message().size(), 400U);
  }
}

}  // namespace
}  // namespace mechsweep
