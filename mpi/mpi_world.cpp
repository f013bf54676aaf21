#include "mpi/mpi_world.h"

#include <mpi.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <limits>
#include <list>
#include <numeric>
#include <type_traits>

#include "mpi/mpi_group.h"

namespace mechsweep {
namespace {

constexpr int kMessageTag = 1;
constexpr int kInternalStatus = 70;
static_assert(std::is_trivially_copyable_v<Message>, "messages travel as bytes");

/// MPI itself: started by the constructor and ended by the destructor.
class MpiSession {
 public:
  MpiSession(int* argc, char*** argv) {
    // A launcher may take minutes to start thousands of ranks.
    const Watchdog::Watch watch(Waiting::io, "MPI_Init");
    int provided = MPI_THREAD_SINGLE;
    MPI_Init_thread(argc, argv, MPI_THREAD_MULTIPLE, &provided);
    MPI_Comm_dup(MPI_COMM_WORLD, &world_);
    if (provided < MPI_THREAD_MULTIPLE) {
      MPI_Comm_free(&world_);
      MPI_Finalize();
      fail(ErrorKind::resource,
           "this MPI library cannot be called from several threads; use one that was built with "
           "MPI_THREAD_MULTIPLE");
    }
  }
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  ~MpiSession() {
    const Watchdog::Watch watch(Waiting::collective, "MPI_Finalize");
    MPI_Comm_free(&world_);
    MPI_Finalize();
  }

  [[nodiscard]] MPI_Comm world() const { return world_; }

 private:
  MPI_Comm world_ = MPI_COMM_NULL;
};

class MpiWorld final : public World {
 public:
  MpiWorld(int* argc, char*** argv) : session_(argc, argv), comm_(session_.world()) {
    MPI_Comm_rank(comm_, &rank_);
    MPI_Comm_size(comm_, &size_);
    MPI_Comm node = MPI_COMM_NULL;
    MPI_Comm_split_type(comm_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &local_rank_);
    MPI_Comm_size(node, &local_size_);
    MPI_Comm_free(&node);
    find_hosts();
  }

  MpiWorld(const MpiWorld&) = delete;
  MpiWorld& operator=(const MpiWorld&) = delete;

  ~MpiWorld() override {
    // Unwinding from something that only this rank knows of: the others would wait for it in their
    // next collective call, and this rank for them in MPI_Finalize.
    if (std::uncaught_exceptions() > exceptions_at_start_ && !leaves_together()) {
      std::fprintf(stderr, "mechsweep: rank %d failed alone and ends all ranks\n", rank_);
      MPI_Abort(comm_, kInternalStatus);
    }
    finish_sends();
  }

  [[nodiscard]] int rank() const override { return rank_; }
  [[nodiscard]] int size() const override { return size_; }
  [[nodiscard]] int local_rank() const override { return local_rank_; }
  [[nodiscard]] int local_size() const override { return local_size_; }

  void send(int to, const Message& message) override {
    forget_finished_sends();
    PendingSend& pending = sends_.emplace_back();
    pending.message = message;
    MPI_Isend(&pending.message, sizeof(Message), MPI_BYTE, to, kMessageTag, comm_,
              &pending.request);
  }

  std::optional<std::pair<int, Message>> poll() override {
    forget_finished_sends();
    int found = 0;
    MPI_Message handle = MPI_MESSAGE_NULL;
    MPI_Status status;
    // Matched probe: another thread cannot take the message between probe and receive.
    MPI_Improbe(MPI_ANY_SOURCE, kMessageTag, comm_, &found, &handle, &status);
    if (found == 0) return std::nullopt;
    Message message;
    MPI_Mrecv(&message, sizeof(Message), MPI_BYTE, &handle, &status);
    return std::pair(status.MPI_SOURCE, message);
  }

  void barrier() override {
    const Watchdog::Watch watch(Waiting::collective, "a barrier of all ranks");
    MPI_Barrier(comm_);
  }

  std::string broadcast(const std::string& text, int root) override {
    const Watchdog::Watch watch(Waiting::collective, "a broadcast to all ranks");
    auto length = static_cast<int64_t>(text.size());
    MPI_Bcast(&length, 1, MPI_INT64_T, root, comm_);
    std::string out = rank_ == root ? text : std::string(static_cast<size_t>(length), '\0');
    MPI_Bcast(out.data(), to_int(length), MPI_CHAR, root, comm_);
    return out;
  }

  std::vector<std::string> gather(const std::string& text) override {
    const Watchdog::Watch watch(Waiting::collective, "a gather from all ranks");
    const int mine = to_int(std::ssize(text));
    std::vector<int> lengths(static_cast<size_t>(rank_ == 0 ? size_ : 0));
    MPI_Gather(&mine, 1, MPI_INT, lengths.data(), 1, MPI_INT, 0, comm_);
    std::vector<int> begins(lengths.size(), 0);
    if (rank_ == 0) std::exclusive_scan(lengths.begin(), lengths.end(), begins.begin(), 0);
    std::string all(rank_ == 0 ? static_cast<size_t>(begins.back() + lengths.back()) : 0, '\0');
    MPI_Gatherv(text.data(), mine, MPI_CHAR, all.data(), lengths.data(), begins.data(), MPI_CHAR, 0,
                comm_);
    std::vector<std::string> parts;
    for (size_t i = 0; i < lengths.size(); ++i) {
      parts.push_back(all.substr(static_cast<size_t>(begins[i]), static_cast<size_t>(lengths[i])));
    }
    return parts;
  }

  std::unique_ptr<Group> split(int colour) override {
    const Watchdog::Watch watch(Waiting::collective, "splitting the ranks into groups");
    MPI_Comm part = MPI_COMM_NULL;
    MPI_Comm_split(comm_, colour, rank_, &part);
    return std::make_unique<MpiGroup>(part);
  }

  void abort(int status) override {
    MPI_Abort(comm_, status);
    std::_Exit(status);
  }

  [[nodiscard]] Json describe() const override {
    char version[MPI_MAX_LIBRARY_VERSION_STRING] = {};
    int length = 0;
    MPI_Get_library_version(version, &length);
    return {{"mpi", library_text({version, static_cast<size_t>(length)})},
            {"threads", "MPI_THREAD_MULTIPLE"},
            {"ranks", size_},
            {"hosts", hosts_}};
  }

 private:
  struct PendingSend {
    Message message;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  /// Some libraries count a closing NUL or end with a line feed.
  static std::string library_text(std::string text) {
    text.resize(std::min(text.find('\0'), text.size()));
    while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back()))) text.pop_back();
    return text;
  }

  static int to_int(int64_t length) {
    ensure(length >= 0 && length <= std::numeric_limits<int>::max(), "a text is too long for MPI");
    return static_cast<int>(length);
  }

  /// Each host once, in the order of its lowest rank, with its number of ranks.
  void find_hosts() {
    std::vector<char> names(static_cast<size_t>(size_) * MPI_MAX_PROCESSOR_NAME, '\0');
    char mine[MPI_MAX_PROCESSOR_NAME] = {};
    int length = 0;
    MPI_Get_processor_name(mine, &length);
    MPI_Allgather(mine, MPI_MAX_PROCESSOR_NAME, MPI_CHAR, names.data(), MPI_MAX_PROCESSOR_NAME,
                  MPI_CHAR, comm_);
    for (int i = 0; i < size_; ++i) {
      const std::string name(names.data() + static_cast<ptrdiff_t>(i) * MPI_MAX_PROCESSOR_NAME);
      hosts_[name] = hosts_.value(name, 0) + 1;
    }
  }

  void forget_finished_sends() {
    for (auto pending = sends_.begin(); pending != sends_.end();) {
      int finished = 0;
      MPI_Test(&pending->request, &finished, MPI_STATUS_IGNORE);
      pending = finished != 0 ? sends_.erase(pending) : std::next(pending);
    }
  }

  /// A message that nobody will receive must not keep the process from ending.
  void finish_sends() {
    forget_finished_sends();
    for (PendingSend& pending : sends_) {
      MPI_Cancel(&pending.request);
      MPI_Request_free(&pending.request);
    }
  }

  int exceptions_at_start_ = std::uncaught_exceptions();
  MpiSession session_;
  MPI_Comm comm_;
  int rank_ = 0;
  int size_ = 1;
  int local_rank_ = 0;
  int local_size_ = 1;
  Json hosts_ = Json::object();
  std::list<PendingSend> sends_;  // a list: the buffers must not move
};

}  // namespace

std::unique_ptr<World> make_mpi_world(int* argc, char*** argv) {
  return std::make_unique<MpiWorld>(argc, argv);
}

}  // namespace mechsweep
