#include "app/model_host.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include <sched.h>
#include <spdlog/spdlog.h>

#include "core/watchdog.h"
#include "engine/model_session.h"

namespace mechsweep {

struct ModelHost::Loaded {
  SoloGroup group;
  std::unique_ptr<ModelSession> session;
};

ModelHost::ModelHost(const Plan& plan, int threads) : plan_(plan), threads_(threads) {}
ModelHost::~ModelHost() = default;

Executor& ModelHost::executor(int model) {
  return session(model).executor();
}

Certificate ModelHost::certify(int model, const Reference* reference) {
  return session(model).certify(plan_.models[model].checkpoint, false, reference);
}

ModelSession& ModelHost::session(int model) {
  // A model may be loaded by one thread and run by another, and libraries' threads are limited for
  // each thread that calls them.
  static thread_local const ThreadPool limit(1);
  if (model != current_) {
    earlier_flops_ = product_flops();
    loaded_.reset();  // two models at once may not fit
    current_ = -1;
    const Watchdog::Watch watch(Waiting::loading, "loading a model");
    const auto start = std::chrono::steady_clock::now();
    auto loaded = std::make_unique<Loaded>();
    const ExecutionConfig& execution = plan_.sweep.execution;
    loaded->session =
        open_model(plan_.models[model].checkpoint, loaded->group,
                   {.executor = execution.executor,
                    .kernels = execution.kernels,
                    .dtype = plan_.models[model].entry->dtype,
                    .threads = threads_,
                    .memory_bytes = static_cast<int64_t>(execution.memory_gib * 1073741824.0)});
    spdlog::debug("loaded model '{}' in {:.2f} s", plan_.models[model].entry->id,
                  std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    loaded_ = std::move(loaded);
    current_ = model;
  }
  return *loaded_->session;
}

double ModelHost::product_flops() const {
  return earlier_flops_ + (loaded_ ? loaded_->session->product_flops() : 0.0);
}

int threads_for_rank(const ExecutionConfig& execution, int local_ranks) {
  if (execution.threads_per_rank > 0) return execution.threads_per_rank;
  cpu_set_t mask;
  CPU_ZERO(&mask);
  const int all = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const int mine = sched_getaffinity(0, sizeof mask, &mask) == 0 ? CPU_COUNT(&mask) : all;
  // Launchers often bind ranks to cores of their own already.
  return mine < all ? std::max(1, mine) : std::max(1, all / local_ranks);
}

}  // namespace mechsweep
