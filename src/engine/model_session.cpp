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
        model_(checkpoint, group,
               {.kernels = parse_kernel_set(options.kernels),
                .type = parse_compute_type(options.dtype)}) {
    if (options.executor == "naive") {
      executor_ = make_naive_executor(model_, pool_, options.memory_bytes);
    } else if (options.executor == "wavefront") {
      executor_ = make_wavefront_executor(model_, pool_, options.memory_bytes);
    } else {
      fail(ErrorKind::usage, "unknown executor '{}'; known: naive, wavefront", options.executor);
    }
  }

  Executor& executor() override { return *executor_; }
  [[nodiscard]] int64_t weight_bytes() const override { return model_.weight_bytes(); }
  [[nodiscard]] double product_flops() const override { return model_.product_flops(); }

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
