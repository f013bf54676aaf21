#include "experiments/head_operations.h"

#include "core/error.h"

namespace mechsweep {

const std::vector<HeadOperation>& head_operations() {
  static const std::vector<HeadOperation> kOperations = {
      {"zero", "zeroed",
       "z := 0 on raw weights: removes the value bias's contribution, keeps the output bias"},
      {"value_bias", "set to the value bias",
       "z := the value bias of its key/value head, 0 where the model has none"},
      {"mean", "set to the mean over other prompts",
       "z := mean over the clean runs of the other prompts of the source (mean_over), positions "
       "aligned from the end"},
      {"resample", "taken from another prompt",
       "z := that of the clean run of another prompt of the same length, drawn with the seed, at "
       "the same position"},
  };
  return kOperations;
}

const HeadOperation& head_operation(const std::string& name) {
  for (const HeadOperation& operation : head_operations())
    if (operation.name == name) return operation;
  ensure(false, "an operation that was checked is gone");
  return head_operations().front();
}

}  // namespace mechsweep
