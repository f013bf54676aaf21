#include "mpi/world.h"

#include <cstdlib>
#include <deque>
#include <new>

#include "mpi/launch.h"
#include "mpi/mpi_world.h"
#include "store/hdf5_handle.h"

namespace mechsweep {
namespace {

std::string encode_error(const Error& error) {
  return Json{{"kind", static_cast<int>(error.kind())},
              {"message", error.message()},
              {"context", error.context()}}
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

Error decode_error(const std::string& text) {
  const Json json = Json::parse(text);
  return {static_cast<ErrorKind>(json.at("kind").get<int>()), json.at("message").get<std::string>(),
          json.at("context").get<std::vector<std::string>>()};
}

/// Runs a step; the text of its Error, or "".
std::string outcome(const std::function<void()>& step) {
  try {
    step();
    return "";
  } catch (const Error& error) {
    return encode_error(error);
  } catch (const std::bad_alloc&) {
    return encode_error(Error(ErrorKind::resource, "memory ran out; give the job more of it"));
  } catch (const std::exception& error) {
    return encode_error(Error(ErrorKind::internal, error.what()));
  }
}

class SoloWorld final : public World {
 public:
  [[nodiscard]] int rank() const override { return 0; }
  [[nodiscard]] int size() const override { return 1; }
  [[nodiscard]] int local_rank() const override { return 0; }
  [[nodiscard]] int local_size() const override { return 1; }
  void send(int to, const Message& message) override {
    ensure(to == 0, "a message to a rank that does not exist");
    queue_.push_back(message);
  }
  std::optional<std::pair<int, Message>> poll() override {
    if (queue_.empty()) return std::nullopt;
    const Message message = queue_.front();
    queue_.pop_front();
    return std::pair(0, message);
  }
  void barrier() override {}
  std::string broadcast(const std::string& text, int root) override {
    ensure(root == 0, "a broadcast from a rank that does not exist");
    return text;
  }
  std::vector<std::string> gather(const std::string& text) override { return {text}; }
  std::unique_ptr<Group> split(int /*colour*/) override { return std::make_unique<SoloGroup>(); }
  void abort(int status) override { std::_Exit(status); }
  [[nodiscard]] Json describe() const override { return {{"mpi", "none"}, {"ranks", 1}}; }

 private:
  std::deque<Message> queue_;
};

}  // namespace

void World::together(const std::function<void()>& step, Waiting waiting,
                     std::source_location where) {
  const Watchdog::Watch watch(waiting, "a step of all ranks", where);
  leaves_together_ = false;
  const auto outcomes = gather(outcome(step));
  std::string first;
  for (const auto& text : outcomes) {
    if (first.empty()) first = text;
  }
  const std::string agreed = broadcast(first, 0);
  if (agreed.empty()) return;
  leaves_together_ = true;
  throw decode_error(agreed);
}

void World::on_root(const std::function<void()>& step, Waiting waiting,
                    std::source_location where) {
  const Watchdog::Watch watch(waiting, "a step of rank 0", where);
  leaves_together_ = false;
  const std::string agreed = broadcast(rank() == 0 ? outcome(step) : std::string(), 0);
  if (agreed.empty()) return;
  leaves_together_ = true;
  throw decode_error(agreed);
}

std::unique_ptr<World> make_solo_world() {
  return std::make_unique<SoloWorld>();
}

std::unique_ptr<World> start_world(int* argc, char*** argv) {
  const Launch launch = detect_launch([](const char* name) { return std::getenv(name); });
  // Before MPI_Init: see start_hdf5.
  start_hdf5();
  if (!launch.has_mpi) return make_solo_world();
  auto world = make_mpi_world(argc, argv);
  try {
    check_rank_count(launch, world->size());
  } catch (const Error&) {
    world.reset();  // here, not while unwinding: every rank sees the same and leaves in peace
    throw;
  }
  return world;
}

}  // namespace mechsweep
