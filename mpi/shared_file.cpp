#include "mpi/shared_file.h"

#include <unistd.h>

#include <memory>
#include <set>
#include <utility>

#include <spdlog/spdlog.h>

#include "store/log_fold.h"
#include "store/log_writer.h"
#include "store/posix_file.h"
#include "store/results_file.h"

namespace mechsweep {

StoreDecision decide_store_together(World& world, const std::string& path, StoreChoice choice) {
  Json mine;
  world.together([&] {
    mine = {{"file_system", file_system_of(folder_of(path))}, {"kernel", this_node().kernel}};
  });
  Json decided;
  const auto texts = world.gather(mine.dump());
  world.on_root([&] {
    std::vector<FolderView> views;
    for (const std::string& text : texts) {
      const Json view = Json::parse(text);
      views.push_back({view.at("file_system"), view.at("kernel")});
    }
    const StoreDecision decision = decide_store(choice, views);
    decided = {{"log", decision.mode == StoreMode::log},
               {"file_system", decision.file_system},
               {"nodes", decision.nodes},
               {"reason", decision.reason}};
  });
  decided = Json::parse(world.broadcast(decided.dump(), 0));
  return {.mode = decided.at("log").get<bool>() ? StoreMode::log : StoreMode::shared,
          .file_system = decided.at("file_system"),
          .nodes = decided.at("nodes"),
          .reason = decided.at("reason")};
}

void create_results_file(World& world, const std::string& path, const FileLayout& layout,
                         StoreMode mode) {
  if (mode == StoreMode::log) {
    world.on_root([&] { create_file_alone(path, layout); });
    return;
  }
  std::string temporary;
  world.on_root([&] { temporary = create_temporary_file(path, layout); });
  temporary = world.broadcast(temporary, 0);
  try {
    world.together([&] {
      ResultsWriter writer(temporary, layout);
      writer.prefill(world.rank(), world.size());
    });
    world.on_root([&] { publish_file(temporary, path); });
  } catch (const Error&) {
    if (world.rank() == 0) ::unlink(temporary.c_str());
    throw;
  }
}

UnitStore::UnitStore(World& world, const std::string& path, const FileLayout& layout,
                     StoreMode mode, uint32_t attempt, bool is_read_back)
    : world_(world), path_(path), mode_(mode) {
  if (mode == StoreMode::shared) {
    component_ = "pwrite";
    world.together([&] {
      auto writer = std::make_unique<ResultsWriter>(path, layout);
      source_ = writer.get();
      sink_ = std::move(writer);
    });
    return;
  }
  component_ = "append";
  world.on_root([&] { make_log_folder(path); });
  world.together([&] {
    std::unique_ptr<ResultsWriter> file;
    if (world.rank() == 0) {
      file = std::make_unique<ResultsWriter>(path, layout);
    }
    auto writer = std::make_unique<LogWriter>(path, layout, attempt, std::move(file), is_read_back);
    source_ = writer.get();
    sink_ = std::move(writer);
  });
}

void UnitStore::close() {
  world_.together([&] { sink_->close(); });
  if (mode_ == StoreMode::shared) return;
  const auto& log = dynamic_cast<const LogWriter&>(*sink_);
  const auto texts =
      world_.gather(Json{{"segment", log.segment()}, {"records", log.records()}}.dump());
  world_.on_root([&] { fold(texts); });
}

void UnitStore::fold(const std::vector<std::string>& written) {
  std::set<std::string> segments;
  int64_t records = 0;
  for (const std::string& text : written) {
    const Json of_rank = Json::parse(text);
    segments.insert(of_rank.at("segment").get<std::string>());
    records += of_rank.at("records").get<int64_t>();
  }
  const FoldReport report = fold_log(path_, {segments.begin(), segments.end()}, records);
  spdlog::info("{}: {} units put into the file from the log of this launch", path_, report.units);
}

}  // namespace mechsweep
