#include "app/io_probe.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <thread>

#include "core/hash.h"
#include "store/lock.h"
#include "store/posix_file.h"
#include "store/read_guard.h"
#include "store/results_file.h"

namespace mechsweep {

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kRounds = 3;
constexpr int64_t kRowBytes = 4099;  // never a whole number of pages or blocks
constexpr int64_t kNumbers = 7;
constexpr int64_t kRowsPerRank = 16;
constexpr int64_t kFewestRows = 64;
constexpr auto kPatience = std::chrono::seconds(10);  // network file systems remember names

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Collective: adds up what all ranks found.
ProbeResult together(World& world, const ProbeResult& mine) {
  Json sum = {{"tried", 0}, {"wrong", 0}, {"fault", ""}};
  for (const std::string& text : world.gather(
           Json{{"tried", mine.tried}, {"wrong", mine.wrong}, {"fault", mine.first_fault}}.dump(
               -1, ' ', false, Json::error_handler_t::replace))) {
    const Json rank = Json::parse(text);
    sum["tried"] = sum["tried"].get<int64_t>() + rank.at("tried").get<int64_t>();
    sum["wrong"] = sum["wrong"].get<int64_t>() + rank.at("wrong").get<int64_t>();
    if (sum["fault"] == "") sum["fault"] = rank.at("fault");
  }
  sum = Json::parse(world.broadcast(sum.dump(), 0));
  return {.tried = sum.at("tried"),
          .wrong = sum.at("wrong"),
          .first_fault = sum.at("fault"),
          .component = mine.component};
}

void note(ProbeResult& result, bool is_right, const std::string& fault) {
  ++result.tried;
  if (is_right) return;
  if (result.wrong++ == 0) result.first_fault = fault;
}

FileLayout probe_layout(int ranks, const std::string& name) {
  FileLayout layout;
  layout.attributes = {{"key", "selftest " + name}};
  layout.groups.push_back({"/runs/rows", {{"kind", "selftest"}, {"run_index", 0}}});
  const int64_t rows = std::max(kFewestRows, kRowsPerRank * ranks);
  const auto dataset = [&](std::string path, ElementType type, int64_t columns) {
    DatasetSpec spec;
    spec.path = "/runs/rows/" + std::move(path);
    spec.type = type;
    spec.shape = {rows, columns};
    layout.targets.push_back({.dataset = static_cast<int32_t>(layout.datasets.size())});
    layout.datasets.push_back(std::move(spec));
  };
  dataset("bytes", ElementType::u8, kRowBytes);
  dataset("numbers", ElementType::f64, kNumbers);
  for (int64_t row = 0; row < rows; ++row) {
    UnitSpec unit;
    Sha256 hash;
    hash.update(fmt::format("row {}", row));
    unit.id = hash.digest();
    unit.prompts = {row, row + 1};
    layout.units.push_back(unit);
  }
  return layout;
}

/// What stands in a row after a round; no two rows or rounds are alike.
UnitResult row_content(int unit, int round) {
  UnitResult result;
  uint32_t state = static_cast<uint32_t>(unit) * 2654435761U + static_cast<uint32_t>(round) + 1;
  for (const int64_t bytes : {kRowBytes, kNumbers * int64_t{8}}) {
    ArrayBlock block{.bytes = std::vector<uint8_t>(static_cast<size_t>(bytes))};
    for (uint8_t& byte : block.bytes) {
      state = state * 1664525U + 1013904223U;
      byte = static_cast<uint8_t>(state >> 24);
    }
    result.blocks.push_back(std::move(block));
  }
  return result;
}

std::vector<uint8_t> payload_of(const UnitResult& result) {
  std::vector<uint8_t> bytes;
  for (const ArrayBlock& block : result.blocks)
    bytes.insert(bytes.end(), block.bytes.begin(), block.bytes.end());
  return bytes;
}

/// Neighbouring rows belong to different ranks, and to others in every round.
int owner(int unit, int round, int ranks) {
  return (unit + round) % ranks;
}

void write_rows(World& world, UnitSink& sink, const FileLayout& layout, int round) {
  for (int unit = 0; unit < std::ssize(layout.units); ++unit) {
    if (owner(unit, round, world.size()) != world.rank()) continue;
    const JournalEntry entry{.attempt = static_cast<uint32_t>(round + 1),
                             .rank = static_cast<uint32_t>(world.rank())};
    sink.write_unit(unit, row_content(unit, round), entry);
  }
  sink.sync();
}

/// Compares rows that others wrote (alone: all of them) with what they must hold.
ProbeResult read_rows(World& world, const std::string& path, const FileLayout& layout, int round) {
  ProbeResult result;
  ReadGuard::trust(path);  // it was made a moment ago
  try {
    const ResultsReader reader(path);
    const auto journal = reader.journal();
    for (int unit = 0; unit < std::ssize(layout.units); ++unit) {
      if (world.size() > 1 && owner(unit, round, world.size()) == world.rank()) continue;
      const bool is_right = journal[unit].state == UnitState::done &&
                            journal[unit].attempt == static_cast<uint32_t>(round + 1) &&
                            reader.payload_matches(unit, journal[unit]) &&
                            reader.read_payload(unit) == payload_of(row_content(unit, round));
      note(result, is_right,
           fmt::format("row {} that rank {} wrote is another one on rank {} ({})", unit,
                       owner(unit, round, world.size()), world.rank(), this_node().host));
    }
  } catch (const Error& error) {
    note(result, false, error.what());
  }
  return result;
}

ProbeResult probe_rows(World& world, const std::string& path, StoreMode mode) {
  const FileLayout layout = probe_layout(world.size(), path);
  create_results_file(world, path, layout, mode);
  ProbeResult result;
  for (int round = 0; round < kRounds; ++round) {
    UnitStore store(world, path, layout, mode, static_cast<uint32_t>(round + 1));
    write_rows(world, store.sink(), layout, round);
    store.close();
    world.barrier();
    ProbeResult mine = read_rows(world, path, layout, round);
    mine.tried += result.tried;
    mine.wrong += result.wrong;
    if (!result.first_fault.empty()) mine.first_fault = result.first_fault;
    mine.component = store.component();
    result = mine;
    world.barrier();
    // Log mode never replaces a unit that is done.
    if (mode == StoreMode::log) break;
  }
  return together(world, result);
}

bool holds_text(const std::string& path, const std::string& text) {
  try {
    const FileDescriptor file = open_file(path, O_RDONLY, ErrorKind::input);
    const auto bytes = read_at(file, 0, file_size(file, path), path);
    return std::equal(bytes.begin(), bytes.end(), text.begin(), text.end());
  } catch (const Error&) {
    return false;
  }
}

void write_text(const std::string& path, const std::string& text) {
  const FileDescriptor file = open_file(path, O_WRONLY | O_CREAT | O_TRUNC, ErrorKind::resource);
  write_at(file, 0, {reinterpret_cast<const uint8_t*>(text.data()), text.size()}, path);
  sync_file(file, path);
}

bool can_lock(const std::string& path) {
  const FileDescriptor file = open_file(path, O_RDWR, ErrorKind::resource);
  return ::flock(file.get(), LOCK_EX | LOCK_NB) == 0;
}

}  // namespace

std::string ProbeResult::text() const {
  if (passed()) return fmt::format("{} compared", tried);
  return fmt::format("{} of {} wrong, {}", wrong, tried, first_fault);
}

ProbeResult probe_visibility(World& world, const std::string& folder) {
  const auto name = [&](int rank) { return fmt::format("{}/seen{}", folder, rank); };
  ProbeResult result;
  try {
    write_text(name(world.rank()), "seen");
  } catch (const Error& error) {
    note(result, false, error.what());
  }
  world.barrier();
  const auto start = Clock::now();
  for (int rank = 0; rank < world.size(); ++rank) {
    while (!holds_text(name(rank), "seen") && Clock::now() - start < kPatience)
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    note(result, holds_text(name(rank), "seen"),
         fmt::format("rank {} ({}) does not see the file of rank {}", world.rank(),
                     this_node().host, rank));
  }
  return together(world, result);
}

ProbeResult probe_shared_rows(World& world, const std::string& folder) {
  return probe_rows(world, folder + "/rows.h5", StoreMode::shared);
}

ProbeResult probe_log(World& world, const std::string& folder) {
  return probe_rows(world, folder + "/log.h5", StoreMode::log);
}

ProbeResult probe_rename(World& world, const std::string& folder) {
  const std::string path = folder + "/renamed";
  ProbeResult result;
  for (int round = 0; round < kRounds; ++round) {
    const std::string text(static_cast<size_t>(kRowBytes), static_cast<char>('a' + round));
    world.on_root([&] {
      write_text(path + ".tmp", text);
      if (std::rename((path + ".tmp").c_str(), path.c_str()) != 0)
        fail(ErrorKind::resource, "{} cannot be renamed: {}", path, errno_text(errno));
    });
    note(result, holds_text(path, text),
         fmt::format("rank {} ({}) still saw the old file", world.rank(), this_node().host));
    world.barrier();
  }
  return together(world, result);
}

ProbeResult probe_lock(World& world, const std::string& folder) {
  const std::string results = folder + "/locked.h5";
  const std::string path = companion_path(results, ".lock");
  ProbeResult result;
  for (int holder = 0; holder < std::min(world.size(), kRounds); ++holder) {
    std::unique_ptr<FileLock> lock;
    world.together([&] {
      if (world.rank() == holder) lock = FileLock::acquire(results);
    });
    bool could = false;
    world.together([&] { could = can_lock(path); });
    note(result, !could,
         fmt::format("rank {} ({}) could lock what rank {} holds", world.rank(), this_node().host,
                     holder));
    world.barrier();
    lock.reset();
    world.barrier();
    // One after the other, or they would refuse each other.
    for (int rank = 0; rank < world.size(); ++rank) {
      world.together([&] {
        if (world.rank() == rank) could = can_lock(path);
      });
    }
    note(result, could,
         fmt::format("rank {} ({}) could not lock what nobody holds", world.rank(),
                     this_node().host));
    world.on_root([&] { FileLock::release(results); });
  }
  return together(world, result);
}

Speed measure_speed(World& world, const std::string& folder) {
  constexpr int64_t kBlock = int64_t{4} << 20;
  constexpr int kBlocks = 4;
  constexpr int kSyncs = 9;
  const std::string path = fmt::format("{}/speed{}", folder, world.rank());
  double mine_s = 0.0;
  std::vector<double> syncs;
  world.together([&] {
    const std::vector<uint8_t> block(kBlock, 0x5A);
    const FileDescriptor file = open_file(path, O_RDWR | O_CREAT, ErrorKind::resource);
    const auto start = Clock::now();
    for (int i = 0; i < kBlocks; ++i) write_at(file, i * kBlock, block, path);
    sync_file(file, path);
    mine_s = seconds_since(start);
    for (int i = 0; i < kSyncs; ++i) {
      write_at(file, i * kRowBytes, std::span(block).first(kRowBytes), path);
      const auto before = Clock::now();
      if (::fdatasync(file.get()) != 0) sync_file(file, path);
      syncs.push_back(seconds_since(before));
    }
  });
  std::nth_element(syncs.begin(), syncs.begin() + kSyncs / 2, syncs.end());
  double slowest_s = 0.0;
  double sync_s = 0.0;
  for (const std::string& text : world.gather(fmt::format("[{},{}]", mine_s, syncs[kSyncs / 2]))) {
    const Json rank = Json::parse(text);
    slowest_s = std::max(slowest_s, rank[0].get<double>());
    sync_s = std::max(sync_s, rank[1].get<double>());
  }
  if (world.rank() != 0) return {};
  const double bytes = static_cast<double>(kBlocks * kBlock) * world.size();
  return {.megabytes_per_s = bytes / 1e6 / slowest_s, .sync_s = sync_s};
}

}  // namespace mechsweep
