#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <hdf5.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <functional>

#include "core/error.h"
#include "sample_layout.h"
#include "store/file_head.h"
#include "store/lock.h"
#include "store/metadata_copy.h"
#include "store/open_results.h"
#include "store/results_file.h"

namespace mechsweep {
namespace {

using sample::TemporaryFolder;
using testing::HasSubstr;

/// "KIND what()" of the Error that a step throws.
std::string error_of(const std::function<void()>& step) {
  try {
    step();
  } catch (const Error& error) {
    return fmt::format("{} {}", exit_status(error.kind()), error.what());
  }
  return "no error";
}

/// Runs a step in a child process, which may give up rights or limit itself, and returns its text.
std::string in_child(const std::function<std::string()>& step) {
  int ends[2];
  if (::pipe(ends) != 0) return "no pipe";
  const pid_t child = ::fork();
  if (child == 0) {
    const std::string text = step();
    const bool written = ::write(ends[1], text.data(), text.size()) == std::ssize(text);
    std::_Exit(written ? 0 : 1);
  }
  ::close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = ::read(ends[0], buffer, sizeof(buffer))) > 0;) {
    text.append(buffer, static_cast<size_t>(got));
  }
  ::close(ends[0]);
  ::waitpid(child, nullptr, 0);
  return text;
}

void make_foreign_file(const std::string& path, H5F_libver_t oldest) {
  const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  H5Pset_libver_bounds(access, oldest, H5F_LIBVER_LATEST);
  H5Fclose(H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access));
  H5Pclose(access);
}

TEST(BadFile, EachKindIsOneErrorThatNamesTheFile) {
  const TemporaryFolder folder;
  const std::string path = folder.file("x.h5");
  const auto reading = [&] { return error_of([&] { ResultsReader reader(path); }); };
  EXPECT_EQ(reading(),
            "3 " + path + " cannot be opened: No such file or directory; check that it is there");
  std::ofstream(path) << "";
  EXPECT_EQ(reading(), "3 " + path + " is not an HDF5 file");
  std::ofstream(path) << std::string(5000, 'a');
  EXPECT_EQ(reading(), "3 " + path + " is not an HDF5 file");
  make_foreign_file(path, H5F_LIBVER_LATEST);
  EXPECT_EQ(reading(), "3 " + path + " is an HDF5 file, but not one that mechsweep made");
  make_foreign_file(path, H5F_LIBVER_EARLIEST);
  EXPECT_EQ(reading(), "3 " + path + ": it is an HDF5 file, but not one that mechsweep made");
  std::filesystem::remove(path);
  std::filesystem::create_directory(path);
  EXPECT_EQ(reading(), "3 " + path + " is not a regular file");
}

TEST(BadFile, EveryCutIsAnError) {
  const TemporaryFolder folder;
  const std::string path = folder.file("x.h5");
  create_file_alone(path, sample::layout());
  const auto size = static_cast<int64_t>(std::filesystem::file_size(path));
  for (const int64_t cut :
       {size - 1, size / 2, int64_t{4096}, int64_t{95}, int64_t{8}, int64_t{7}}) {
    std::filesystem::resize_file(path, static_cast<uintmax_t>(cut));
    EXPECT_THAT(error_of([&] { ResultsReader reader(path); }), testing::StartsWith("3 " + path));
    EXPECT_THAT(error_of([&] { ResultsWriter writer(path, sample::layout()); }),
                testing::StartsWith("3 " + path));
  }
}

TEST(BadFile, LaterFormatVersionIsRefused) {
  const TemporaryFolder folder;
  FileLayout layout = sample::layout();
  layout.attributes["format_version"] = 2;
  const std::string path = folder.file("x.h5");
  EXPECT_THAT(error_of([&] { create_file_alone(path, layout); }), HasSubstr("format version 2"));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(BadFile, AFileOfAnotherLayoutIsNotWrittenTo) {
  const TemporaryFolder folder;
  const std::string path = folder.file("x.h5");
  create_file_alone(path, sample::layout());
  FileLayout more_units = sample::layout();
  sample::add_unit(more_units, 0, 1, {0, 5}, {0, 0});
  EXPECT_THAT(error_of([&] { ResultsWriter writer(path, more_units); }), HasSubstr("/journal"));
  FileLayout other_shape = sample::layout();
  auto& spec = other_shape.datasets[static_cast<size_t>(other_shape.targets[0].dataset)];
  spec.shape[0] = 6;
  EXPECT_THAT(error_of([&] { ResultsWriter writer(path, other_shape); }), HasSubstr(spec.path));
}

TEST(BadFile, ExternalAndChunkedDatasetsAndLinksOutAreRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.file("x.h5");
  const auto with_change = [&](const std::function<void(hid_t)>& change) {
    std::filesystem::remove(path);
    create_file_alone(path, sample::layout());
    const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    change(file);
    H5Fclose(file);
    // With its copy of the metadata the file is refused before HDF5 looks at it; without, by what
    // HDF5 finds in it.
    EXPECT_THAT(error_of([&] { ResultsReader reader(path); }), HasSubstr("3 "));
    EXPECT_NE(check_metadata(path).damage, std::vector<std::string>());
    std::filesystem::remove(companion_path(path, ".meta"));
    return error_of([&] { ResultsReader reader(path); });
  };
  const auto replace = [](hid_t file, const std::function<void(hid_t)>& storage) {
    const char* name = "/runs/heads/tiny/ab/loss";
    H5Ldelete(file, name, H5P_DEFAULT);
    const hsize_t dims[] = {5, 3, 4};
    const hid_t space = H5Screate_simple(3, dims, nullptr);
    const hid_t options = H5Pcreate(H5P_DATASET_CREATE);
    storage(options);
    H5Dclose(H5Dcreate2(file, name, H5T_IEEE_F64LE, space, H5P_DEFAULT, options, H5P_DEFAULT));
    H5Pclose(options);
    H5Sclose(space);
  };
  EXPECT_THAT(with_change([](hid_t file) {
                H5Lcreate_external("other.h5", "/", file, "/runs/out", H5P_DEFAULT, H5P_DEFAULT);
              }),
              HasSubstr("/runs/out is a link to elsewhere"));
  EXPECT_THAT(with_change([](hid_t file) {
                H5Lcreate_hard(file, "/runs", file, "/runs/again", H5P_DEFAULT, H5P_DEFAULT);
              }),
              HasSubstr("/runs/again is another name of something else"));
  EXPECT_THAT(with_change([&](hid_t file) {
                replace(file, [](hid_t options) {
                  const hsize_t chunk[] = {1, 3, 4};
                  H5Pset_chunk(options, 3, chunk);
                });
              }),
              HasSubstr("/runs/heads/tiny/ab/loss is not stored contiguously"));
  EXPECT_THAT(with_change([&](hid_t file) {
                replace(file, [](hid_t options) {
                  H5Pset_external(options, "other.bin", 0, 5 * 3 * 4 * 8);
                });
              }),
              HasSubstr("/runs/heads/tiny/ab/loss is not stored contiguously"));
}

/// Where the file says that a dataset of this extent lies: address and size, 8 bytes each.
int64_t place_of_address(const std::vector<uint8_t>& file, Range extent) {
  std::array<uint8_t, 16> wanted{};
  const int64_t size = extent.size();
  std::memcpy(wanted.data(), &extent.begin, 8);
  std::memcpy(wanted.data() + 8, &size, 8);
  return std::search(file.begin(), file.end(), wanted.begin(), wanted.end()) - file.begin();
}

TEST(BadFile, DatasetsOverSomethingElseAreRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.file("x.h5");
  create_file_alone(path, sample::layout(/*logits_per_row=*/2));
  std::filesystem::remove(companion_path(path, ".meta"));
  const auto good = sample::read_all(path);
  const auto raw = ResultsReader(path).raw_extents();
  const auto largest = *std::max_element(raw.begin(), raw.end(),
                                         [](Range a, Range b) { return a.size() < b.size(); });
  const int64_t place = place_of_address(good, largest);
  ASSERT_LT(place, std::ssize(good));
  const auto with_address = [&](int64_t address) {
    for (int i = 0; i < 8; ++i) {
      sample::overwrite(path, place + i, static_cast<uint8_t>(address >> (8 * i)));
    }
    return error_of([&] { ResultsReader reader(path); });
  };
  EXPECT_EQ(with_address(largest.begin), "no error");
  EXPECT_THAT(with_address(0), HasSubstr("lies over something else or outside the file"));
  EXPECT_THAT(with_address(96), HasSubstr("lies over"));
  EXPECT_THAT(with_address(raw[1].begin), HasSubstr("lies over something else"));
  EXPECT_THAT(with_address(std::ssize(good) - 8), HasSubstr("3 "));
  EXPECT_THAT(with_address(int64_t{1} << 62), HasSubstr("3 "));
}

TEST(BadFile, MetadataWhereResultsAreWrittenAreRefused) {
  const TemporaryFolder folder;
  const std::string path = folder.file("x.h5");
  sample::write_file(path, sample::layout(/*logits_per_row=*/2), {0, 1});
  EXPECT_NO_THROW(try_results_file(path));
  const auto file = sample::read_all(path);
  const auto raw = ResultsReader(path).raw_extents();
  // A B-tree node of the root group, moved to where a dataset has room for it, is read from there.
  const auto largest = *std::max_element(raw.begin(), raw.end(),
                                         [](Range a, Range b) { return a.size() < b.size(); });
  const std::string mark = "TREE";
  const auto tree = std::search(file.begin(), file.end(), mark.begin(), mark.end()) - file.begin();
  ASSERT_GT(largest.size(), 1024);
  const int64_t target = largest.begin + 64;
  for (int64_t i = 0; i < 544; ++i) {
    sample::overwrite(path, target + i, file[static_cast<size_t>(tree + i)]);
  }
  std::array<uint8_t, 8> address{};
  std::memcpy(address.data(), &tree, 8);
  int moved = 0;
  for (int64_t at = 0; at + 8 <= 1024; ++at) {
    if (!std::equal(address.begin(), address.end(), file.begin() + at)) continue;
    ++moved;
    for (int i = 0; i < 8; ++i) {
      sample::overwrite(path, at + i, static_cast<uint8_t>(target >> (8 * i)));
    }
  }
  ASSERT_GT(moved, 0);
  EXPECT_THAT(error_of([&] { try_results_file(path); }), HasSubstr("where results are written"));
}

TEST(BadFolder, MissingAndReadOnlyFoldersAreResourceErrors) {
  const TemporaryFolder folder;
  const std::string missing = folder.file("no/x.h5");
  EXPECT_THAT(error_of([&] { create_file_alone(missing, sample::layout()); }),
              testing::AllOf(testing::StartsWith("4 " + missing), HasSubstr("No such file")));
  const std::string path = folder.file("x.h5");
  const std::string text = in_child([&] {
    std::filesystem::permissions(folder.path(), std::filesystem::perms::owner_read |
                                                    std::filesystem::perms::owner_exec |
                                                    std::filesystem::perms::others_read |
                                                    std::filesystem::perms::others_exec);
    if (::geteuid() == 0 && ::seteuid(65534) != 0) return std::string("cannot give up root");
    return error_of([&] { create_file_alone(path, sample::layout()); });
  });
  EXPECT_THAT(text,
              testing::AllOf(testing::StartsWith("4 " + path), HasSubstr("ermission denied")));
}

TEST(FullDisk, CreationSaysSoAndLeavesNothing) {
  const TemporaryFolder folder;
  const std::string path = folder.file("x.h5");
  const std::string text = in_child([&] {
    // A limit on file sizes stands for a full disk: the write fails part of the way.
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{1 << 20, 1 << 20};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    return error_of([&] { create_file_alone(path, sample::layout()); });
  });
  EXPECT_THAT(text, testing::AllOf(testing::StartsWith("4 "), HasSubstr("File too large")));
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(FullDisk, WritingAUnitNamesFileAndUnitAndSaysHowToGoOn) {
  const TemporaryFolder folder;
  const FileLayout layout = sample::layout();
  const std::string path = folder.file("x.h5");
  create_file_alone(path, layout);
  const std::string text = in_child([&] {
    std::signal(SIGXFSZ, SIG_IGN);
    ResultsWriter writer(path, layout);
    writer.write_unit(0, sample::result(layout, 0), sample::entry());
    const rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    return error_of([&] { writer.write_unit(6, sample::result(layout, 6), sample::entry()); });
  });
  EXPECT_THAT(
      text, testing::AllOf(testing::StartsWith("4 " + path + ": unit 6 ("),
                           HasSubstr("File too large"), HasSubstr("start the same command again")));
  const Verification found = verify_file(path);
  EXPECT_EQ(found.done, 1);
  EXPECT_TRUE(found.damage.empty());
}

TEST(Temporaries, OfADeadCreationAreRemovedAndNoOthers) {
  const TemporaryFolder folder;
  for (const char* name : {".x.abc123.tmp", ".x.abc12.tmp", ".y.abc123.tmp", ".x.ABC123.tmp"}) {
    std::ofstream(folder.file(name)) << "left over";
  }
  create_file_alone(folder.file("x.h5"), sample::layout());
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    names.push_back(entry.path().filename().string());
  }
  EXPECT_THAT(names, testing::UnorderedElementsAre("x.h5", "x.meta", ".x.abc12.tmp",
                                                   ".y.abc123.tmp", ".x.ABC123.tmp"));
}

}  // namespace
}  // namespace mechsweep
