#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/group.h"
#include "core/json.h"
#include "core/watchdog.h"

namespace mechsweep {

/// A message between ranks: a few plain integers and a double (dispatch), nothing else.
struct Message {
  int kind = 0;
  int64_t unit = -1;
  int64_t aux = 0;
  double seconds = 0.0;
};

/// All processes of one launch. Started alone (no mpirun, no srun) there is no MPI at all: MPI_Init
/// would abort under left-over Slurm variables. Every "collective" call must be made by all ranks
/// in the same order.
class World {
 public:
  virtual ~World() = default;
  [[nodiscard]] virtual int rank() const = 0;
  [[nodiscard]] virtual int size() const = 0;
  /// Ranks on this host and this rank's number among them.
  [[nodiscard]] virtual int local_rank() const = 0;
  [[nodiscard]] virtual int local_size() const = 0;

  /// Point to point; never blocks for long (messages are small and buffered).
  virtual void send(int to, const Message& message) = 0;
  /// The next message from anyone, if one has arrived.
  virtual std::optional<std::pair<int, Message>> poll() = 0;

  virtual void barrier() = 0;                                            ///< collective
  virtual std::string broadcast(const std::string& text, int root) = 0;  ///< collective
  /// Collective; rank 0 gets every rank's text in rank order, the others nothing.
  virtual std::vector<std::string> gather(const std::string& text) = 0;
  /// Collective: runs `step` on every rank; when it threw on any, every rank throws the lowest
  /// failing rank's Error, so that all leave by the same door. `step` may be collective itself only
  /// if none of its ranks can fail before the others have passed. `waiting` says how long the step
  /// may take on the slowest rank before the watchdog ends the launch.
  void together(const std::function<void()>& step, Waiting waiting = Waiting::io,
                std::source_location where = std::source_location::current());
  /// Collective: runs `step` on rank 0 only; its Error is thrown on every rank.
  void on_root(const std::function<void()>& step, Waiting waiting = Waiting::io,
               std::source_location where = std::source_location::current());
  /// True after together or on_root threw, until the next call of one of them: every rank knows of
  /// the Error and leaves. An Error that a rank caught otherwise is its own, and it must abort().
  [[nodiscard]] bool leaves_together() const { return leaves_together_; }

  /// Collective: the ranks that give the same colour become one Group, in rank order. Groups must
  /// be gone before the World is.
  virtual std::unique_ptr<Group> split(int colour) = 0;

  /// Ends all ranks at once with an exit status (only for what cannot be agreed on).
  [[noreturn]] virtual void abort(int status) = 0;
  /// Facts for the attempt record: MPI library version, hosts, thread level.
  /// A JSON object.
  [[nodiscard]] virtual Json describe() const = 0;

 private:
  bool leaves_together_ = false;
};

/// One process without MPI. Messages to itself arrive at its next poll.
std::unique_ptr<World> make_solo_world();

/// Detects how the process was started and starts MPI if need be (MPI_THREAD_MULTIPLE). Must be
/// called once, early, on the main thread, before anything uses HDF5; the destructor finalises, or
/// aborts all ranks with status 70 when an exception that was not agreed on passes it. Throws
/// Error{usage} when Slurm started several tasks but MPI sees another number of ranks (a PMIx
/// mismatch), Error{resource} when MPI cannot do MPI_THREAD_MULTIPLE.
std::unique_ptr<World> start_world(int* argc, char*** argv);

}  // namespace mechsweep
