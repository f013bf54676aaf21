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
                .type = parse_compute_type(options.dtype),
                .threads = &pool_}) {
    options_ = options;
    executor_ = make(options.executor);
  }

  Executor& executor() override { return *executor_; }
  Certificate certify(const Checkpoint& checkpoint, bool thorough,
                      const Reference* reference) override {
    const auto other = make(options_.executor == "naive" ? "wavefront" : "naive");
    return mechsweep::certify(checkpoint, *executor_, *other,
                              {.dtype = options_.dtype,
                               .kernels = options_.kernels,
                               .thorough = thorough,
                               .reference = reference});
  }
  [[nodiscard]] int64_t weight_bytes() const override { return model_.weight_bytes(); }
  [[nodiscard]] double product_flops() const override { return model_.product_flops(); }

 private:
  [[nodiscard]] std::unique_ptr<Executor> make(const std::string& name) {
    if (name == "naive") return make_naive_executor(model_, pool_, options_.memory_bytes);
    if (name == "wavefront") return make_wavefront_executor(model_, pool_, options_.memory_bytes);
    fail(ErrorKind::usage, "unknown executor '{}'; known: naive, wavefront", name);
  }

  SessionOptions options_;
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
