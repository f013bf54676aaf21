#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/group.h"
#include "core/thread_pool.h"
#include "engine/model_session.h"
#include "plan/plan.h"

namespace mechsweep {

/// The model that this rank holds at the moment. Units come ordered by model, so it changes seldom.
/// Used by one thread at a time.
class ModelHost {
 public:
  ModelHost(const Plan& plan, int threads);
  ~ModelHost();

  /// The executor of a model, loaded now unless it is the current one. Throws Error{input} or
  /// Error{resource}.
  Executor& executor(int model);
  /// The short battery of docs/models.md ("Certificates") on a model, loaded as executor() does,
  /// which stays loaded. `reference` may be null.
  Certificate certify(int model, const Reference* reference);
  /// Floating-point operations of all matrix products so far, of every model that was held.
  [[nodiscard]] double product_flops() const;

 private:
  struct Loaded;
  ModelSession& session(int model);
  const Plan& plan_;
  int threads_;
  int current_ = -1;
  double earlier_flops_ = 0.0;  ///< of models that are no longer held
  std::unique_ptr<Loaded> loaded_;
};

/// Threads for one rank: what the config says, else the cores that this process may use, shared
/// evenly between the ranks of this host when they are not bound to cores of their own.
int threads_for_rank(const ExecutionConfig& execution, int local_ranks);

}  // namespace mechsweep
