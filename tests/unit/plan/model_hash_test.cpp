#include "plan/model_hash.h"

#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "unit/plan/sweep_files.h"

namespace mechsweep {
namespace {

using test_plan::Folder;

// SHA-256 of "abc" and of the empty message: FIPS 180-4 examples.
constexpr const char* kAbc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
constexpr const char* kEmpty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Points the cache into a folder of its own.
class ModelHash : public testing::Test {
 protected:
  void SetUp() override {
    const char* old = std::getenv("XDG_CACHE_HOME");
    if (old != nullptr) old_ = old;
    ::setenv("XDG_CACHE_HOME", folder_.file("cache").c_str(), 1);
  }
  void TearDown() override {
    if (old_.empty()) {
      ::unsetenv("XDG_CACHE_HOME");
    } else {
      ::setenv("XDG_CACHE_HOME", old_.c_str(), 1);
    }
  }

  [[nodiscard]] std::string cache_path() const {
    return folder_.file("cache/mechsweep/hashes.json");
  }
  Json cache() const {
    std::ifstream file(cache_path());
    return Json::parse(file);
  }

  Folder folder_;
  std::string old_;
};

TEST_F(ModelHash, FilesAreHashedByContent) {
  const auto hashes = hash_files({folder_.write("a.bin", "abc"), folder_.write("b.bin", "")});
  ASSERT_EQ(hashes.size(), 2U);
  EXPECT_EQ(hashes[0].name, "a.bin");
  EXPECT_EQ(hashes[0].size_bytes, 3);
  EXPECT_EQ(hashes[0].sha256, kAbc);
  EXPECT_EQ(hashes[1].sha256, kEmpty);
}

TEST_F(ModelHash, HashesAreRememberedUntilTheFileChanges) {
  const std::string path = folder_.write("a.bin", "abc");
  EXPECT_EQ(hash_files({path})[0].sha256, kAbc);
  ASSERT_EQ(cache().size(), 1U);
  // What is remembered is what is used: plant another hash under the same key.
  Json planted = cache();
  planted.begin().value() = std::string(64, '0');
  std::ofstream(cache_path()) << planted;
  EXPECT_EQ(hash_files({path})[0].sha256, std::string(64, '0'));
  folder_.write("a.bin", "");
  EXPECT_EQ(hash_files({path})[0].sha256, kEmpty);
}

TEST_F(ModelHash, ADamagedCacheIsAnEmptyOne) {
  const std::string path = folder_.write("a.bin", "abc");
  (void)hash_files({path});
  Json planted = cache();
  planted.begin().value() = "short";
  for (const std::string& text : {std::string("{"), std::string("[1]"), planted.dump()}) {
    std::ofstream(cache_path(), std::ios::trunc) << text;
    EXPECT_EQ(hash_files({path})[0].sha256, kAbc) << text;
  }
}

TEST_F(ModelHash, WithoutACacheFolderHashingWorks) {
  folder_.write("cache", "a file is in the way");
  EXPECT_EQ(hash_files({folder_.write("a.bin", "abc")})[0].sha256, kAbc);
}

TEST_F(ModelHash, MissingFilesAndFoldersAreNamed) {
  for (const std::string& path : {folder_.file("none"), folder_.file("")}) {
    try {
      (void)hash_files({path});
      ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::input);
      EXPECT_THAT(error.what(), testing::StartsWith(path + ": cannot be read"));
    }
  }
}

TEST_F(ModelHash, AModelsHashCoversNamesAndContentsInAnyOrder) {
  const std::vector<FileHash> files = {{"b", 3, kAbc}, {"a", 0, kEmpty}};
  // sha256sum of [["a","e3b0..."],["b","ba78..."]] without spaces.
  EXPECT_EQ(model_hash(files), "88f3ac3ccb0f662c473b43de2bc9f44c2ff6a52a5ec16453941fc82805265e13");
  EXPECT_EQ(model_hash(files), model_hash({files[1], files[0]}));
  EXPECT_NE(model_hash(files), model_hash({{"b", 3, kEmpty}, {"a", 0, kAbc}}));
  EXPECT_NE(model_hash(files), model_hash({files[0]}));
}

TEST_F(ModelHash, SurvivesJson) {
  const std::vector<FileHash> files = {{"a", 3, kAbc}};
  const auto back = file_hashes_from_json(Json::parse(to_json(files).dump()));
  ASSERT_EQ(back.size(), 1U);
  EXPECT_EQ(back[0].name, "a");
  EXPECT_EQ(back[0].size_bytes, 3);
  EXPECT_EQ(back[0].sha256, kAbc);
}

}  // namespace
}  // namespace mechsweep
