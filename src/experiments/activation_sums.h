#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "engine/executor.h"
#include "experiments/experiment.h"

namespace mechsweep {

/// Which prompts of the run's set a mean is over; the own one is always left out.
enum class MeanOver {
  own_template,  ///< those with the same template; a prompt without one has no others
  all
};
std::string_view mean_over_name(MeanOver over);
/// From "template" or "all".
MeanOver mean_over_of(const std::string& name);

/// The sums that `mean` divides, over unedited runs of the run's prompts. Computed when first asked
/// for, once in a process, for every site and layer that was announced; a sum is made in the
/// prompts' order, so it has the same bits wherever and whenever it is made.
class MeanSources {
 public:
  MeanSources(const RunContext& context, Side side);

  /// Announces what sums() will be asked for. Not after the first sums().
  void need(MeanOver over, Site site, int layer);

  /// Throws Error{input} when a prompt has no other to take the mean over at one of these
  /// positions; `key` is how the user names the choice of MeanOver.
  void check(MeanOver over, int64_t prompt, std::span<const int32_t> positions,
             std::string_view key) const;

  /// Equal arguments give the same object. Layers that were not announced are zero. Safe to call
  /// from several threads.
  [[nodiscard]] std::shared_ptr<const ActivationSums> sums(MeanOver over, Site site, int64_t prompt,
                                                           Executor& executor) const;

  /// Activations that are held at once while summing, in bytes; at least one prompt's are.
  static constexpr int64_t kBlockBytes = int64_t{256} << 20;

 private:
  using Sums = std::map<Site, std::shared_ptr<ActivationSums>>;

  [[nodiscard]] const std::vector<int32_t>& members(MeanOver over, int64_t prompt) const;
  [[nodiscard]] std::vector<ActivationPoint> points(MeanOver over, int64_t tokens) const;
  [[nodiscard]] Sums compute(MeanOver over, const std::vector<int32_t>& members,
                             Executor& executor) const;
  void add_block(std::span<const int32_t> members, MeanOver over, Executor& executor,
                 Sums& sums) const;

  const ModelConfig* model_;
  const PromptSet* prompts_;
  Side side_;
  std::vector<int32_t> template_of_;             ///< per prompt, an index into templates_
  std::vector<std::vector<int32_t>> templates_;  ///< prompts of one template, ascending
  std::vector<int32_t> everyone_;
  std::map<MeanOver, std::map<Site, std::set<int>>> needed_;
  mutable std::mutex mutex_;
  mutable std::map<std::pair<MeanOver, int32_t>, Sums> cache_;
};

}  // namespace mechsweep
