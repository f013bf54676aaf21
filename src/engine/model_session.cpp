#include "engine/model_session.h"

#include "core/error.h"
#include "core/thread_pool.h"
#include "model/model.h"

namespace mechsweep {

namespace {

class LoadedSession final : public ModelSession {
 public:
  LoadedSession(const Checkpoint& checkpoint, Group& group, const SessionOptions& options)
      : pool_(options.threads),
        model_(checkpoint, group, {.kernels = parse_kernel_set(options.kernels)}) {
    if (options.executor != "naive")
      fail(ErrorKind::usage, "unknown executor '{}'; known: naive", options.executor);
    executor_ = make_naive_executor(model_, pool_, options.memory_bytes);
  }

  Executor& executor() override { return *executor_; }
  [[nodiscard]] int64_t weight_bytes() const override { return model_.weight_bytes(); }

 private:
  ThreadPool pool_;
  Model model_;
  std::unique_ptr<Executor> executor_;
};

}  // namespace

std::unique_ptr<ModelSession> open_model(const Checkpoint& checkpoint, Group& group,
                                         const SessionOptions& options) {
  return std::make_unique<LoadedSession>(checkpoint, group, options);
}

}  // namespace mechsweep
