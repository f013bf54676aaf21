#include "store/restore.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "core/error.h"
#include "sample_layout.h"
#include "store/layout_hash.h"
#include "store/lock.h"
#include "store/metadata_copy.h"

namespace mechsweep {
namespace {

using sample::TemporaryFolder;
using testing::ElementsAre;
using testing::HasSubstr;

class Restore : public testing::Test {
 protected:
  void SetUp() override {
    sample::write_file(path_, layout_, sample::all_units(layout_));
    good_ = sample::read_all(path_);
  }

  /// Where the file's own description of its runs lies.
  [[nodiscard]] int64_t place_of(const std::string& text) const {
    const auto found = std::search(good_.begin(), good_.end(), text.begin(), text.end());
    return found - good_.begin();
  }

  void damage_metadata() const {
    const int64_t at = place_of("scores");
    for (int64_t i = 0; i < 6; ++i) sample::overwrite(path_, at + i, 'x');
  }

  [[nodiscard]] std::string error_of_restore() const {
    try {
      restore_metadata(path_);
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

  TemporaryFolder folder_;
  std::string path_ = folder_.file("a.h5");
  std::string meta_ = folder_.file("a.meta");
  FileLayout layout_ = sample::layout(/*logits_per_row=*/2);
  std::vector<uint8_t> good_;
};

TEST_F(Restore, WritesMetadataBackByteForByte) {
  damage_metadata();
  EXPECT_THAT(verify_file(path_).damage, ElementsAre(HasSubstr("--restore")));
  EXPECT_THAT(restore_metadata(path_), ElementsAre(HasSubstr("6 bytes of metadata")));
  EXPECT_EQ(sample::read_all(path_), good_);
  EXPECT_THAT(restore_metadata(path_), ElementsAre(HasSubstr("nothing to do")));
  EXPECT_FALSE(std::filesystem::exists(folder_.file("a.lock")));
}

TEST_F(Restore, ClearsWhatOneThatWasKilledLeft) {
  const std::string left = folder_.file(".a.h5.abc123.tmp");
  std::ofstream(left) << "half an image";
  EXPECT_THAT(restore_metadata(path_), ElementsAre(HasSubstr("nothing to do")));
  EXPECT_FALSE(std::filesystem::exists(left));
}

TEST_F(Restore, GivesACutOrLengthenedFileItsSize) {
  std::filesystem::resize_file(path_, good_.size() + 1000);
  EXPECT_THAT(restore_metadata(path_), ElementsAre(HasSubstr("1000 bytes")));
  EXPECT_EQ(sample::read_all(path_), good_);
  std::filesystem::resize_file(path_, good_.size() - 100);
  EXPECT_THAT(restore_metadata(path_), ElementsAre(HasSubstr("written back")));
  EXPECT_EQ(std::filesystem::file_size(path_), good_.size());
}

TEST_F(Restore, RefusesWhileARunIsOn) {
  damage_metadata();
  const auto before = sample::read_all(path_);
  const pid_t holder = ::fork();
  if (holder == 0) {
    const auto lock = FileLock::acquire(path_);
    ::pause();
    ::_exit(0);
  }
  while (!std::filesystem::exists(folder_.file("a.lock")) ||
         std::filesystem::file_size(folder_.file("a.lock")) == 0) {
  }
  EXPECT_THAT(error_of_restore(), HasSubstr("held by another run"));
  ::kill(holder, SIGKILL);
  ::waitpid(holder, nullptr, 0);
  EXPECT_EQ(sample::read_all(path_), before);
}

TEST_F(Restore, MakesAMissingOrDamagedOrForeignCopyAnew) {
  const auto copy = sample::read_all(meta_);
  std::filesystem::remove(meta_);
  EXPECT_THAT(restore_metadata(path_), ElementsAre(HasSubstr("missing or damaged")));
  EXPECT_EQ(sample::read_all(meta_), copy);
  sample::overwrite(meta_, 100, static_cast<uint8_t>(copy[100] ^ 1));
  EXPECT_THAT(restore_metadata(path_), ElementsAre(HasSubstr("missing or damaged")));
  EXPECT_EQ(sample::read_all(meta_), copy);
  FileLayout other = layout_;
  other.attributes["key"] = "k2";
  create_file_alone(folder_.file("b.h5"), other);
  std::filesystem::rename(folder_.file("b.meta"), meta_);
  EXPECT_THAT(restore_metadata(path_), ElementsAre(HasSubstr("that of another file")));
  EXPECT_EQ(sample::read_all(meta_), copy);
  EXPECT_EQ(sample::read_all(path_), good_);
}

TEST_F(Restore, NeverFromTheCopyOfAnotherFile) {
  sample::write_file(folder_.file("b.h5"), sample::layout(), {0});  // larger rows: other places
  std::filesystem::rename(folder_.file("b.meta"), meta_);
  damage_metadata();
  const auto before = sample::read_all(path_);
  EXPECT_THAT(error_of_restore(), HasSubstr("not the copy of this file's metadata"));
  EXPECT_EQ(sample::read_all(path_), before);
  std::filesystem::remove(meta_);
  EXPECT_THAT(error_of_restore(), HasSubstr("nothing can be restored"));
  EXPECT_EQ(sample::read_all(path_), before);
}

TEST_F(Restore, DamageOfEveryPartOfTheDescriptionShowsWithoutTheCopy) {
  std::filesystem::remove(meta_);
  // Names, attributes, contents: flipped so that HDF5 reads on as if nothing was.
  for (const std::string& text : {std::string("scores"), std::string("seed: 1"), std::string("bb"),
                                  std::string("p3"), std::string("vocab_size")}) {
    const int64_t at = place_of(text);
    ASSERT_LT(at, std::ssize(good_)) << text;
    sample::overwrite(path_, at, static_cast<uint8_t>(good_[static_cast<size_t>(at)] ^ 1));
    EXPECT_THROW(ResultsReader{path_}, Error) << text;
    sample::overwrite(path_, at, good_[static_cast<size_t>(at)]);
  }
  EXPECT_NO_THROW(ResultsReader{path_});
}

TEST_F(Restore, PlantedCompanionsAreNeitherFollowedNorWaitedFor) {
  const std::string victim = folder_.file("victim");
  std::ofstream(victim) << "precious";
  const auto precious = sample::read_all(victim);
  const auto plant = [&](const std::string& name) {
    std::filesystem::remove(folder_.file(name));
    std::filesystem::create_symlink(victim, folder_.file(name));
  };
  plant("a.lock");
  EXPECT_THAT(error_of_restore(), HasSubstr("a.lock is a symbolic link"));
  std::filesystem::remove(folder_.file("a.lock"));
  std::filesystem::create_hard_link(victim, folder_.file("a.lock"));
  EXPECT_THAT(error_of_restore(), HasSubstr("hard links"));
  std::filesystem::remove(folder_.file("a.lock"));
  ASSERT_EQ(::mkfifo(folder_.file("a.lock").c_str(), 0600), 0);
  EXPECT_THAT(error_of_restore(), HasSubstr("not a regular file"));
  std::filesystem::remove(folder_.file("a.lock"));
  plant("a.meta");  // replaced, not followed
  EXPECT_THAT(restore_metadata(path_), ElementsAre(HasSubstr("made anew")));
  EXPECT_FALSE(std::filesystem::is_symlink(meta_));
  std::filesystem::remove(meta_);
  ASSERT_EQ(::mkfifo(meta_.c_str(), 0600), 0);
  EXPECT_TRUE(check_metadata(path_).copy_is_damaged);
  std::filesystem::rename(path_, folder_.file("real.h5"));
  std::filesystem::create_symlink(folder_.file("real.h5"), path_);
  EXPECT_THAT(error_of_restore(), HasSubstr("a.h5 is a symbolic link"));
  EXPECT_THROW(ResultsWriter(path_, layout_), Error);
  EXPECT_THROW(create_file_alone(path_, layout_), Error);
  EXPECT_EQ(sample::read_all(victim), precious);
  EXPECT_EQ(sample::read_all(folder_.file("real.h5")), good_);
}

}  // namespace
}  // namespace mechsweep
