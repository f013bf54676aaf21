#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "engine/executor.h"
#include "engine/intervention.h"
#include "model/attention.h"
#include "model/model.h"

// What edits do to numbers: the part that both executors share. Which rows they do it to is each
// executor's own affair.

namespace mechsweep {

/// An edit at one position of one run.
struct EditPlace {
  const Edit* edit = nullptr;
  const float* donor = nullptr;  ///< the donor run's row of the site, where the edit takes from one
  int64_t from_end = 0;          ///< places between the position and the run's last token
};

/// Changes one row of the edit's site (site_width floats) in place. Not for pattern and edges.
void apply_edit(const Model& model, const EditPlace& place, float* row);

/// Where the values of donor runs are found.
class DonorSource {
 public:
  virtual ~DonorSource() = default;
  /// The row [site_width] of a site that the edit's layer has in its donor run.
  [[nodiscard]] virtual const float* row(const Edit& edit, Site site, int32_t position) const = 0;
  /// The probabilities of keys 0..query of a head in the edit's donor run.
  [[nodiscard]] virtual const float* pattern(const Edit& edit, int head, int32_t query) const = 0;
};

/// Whether an edit changes attention weights or single edges instead of a whole vector.
inline bool edits_attention(const Edit& edit) {
  return edit.site == Site::pattern || !edit.edges.empty();
}
/// The queries whose attention such an edit changes, ascending, each once.
std::vector<int32_t> queries_of(const Edit& edit);
/// The lowest position whose row an edit changes.
int32_t first_row_of(const Edit& edit);
/// Adds what the edit does to one head's attention at one query.
void change_attention(const Model& model, const Edit& edit, const DonorSource& donors,
                      TokenPlace query, int head, AttentionChange& change);

/// Changes of a layer's attention, by row and query head.
class AttentionChanges {
 public:
  AttentionChange& at(int64_t row, int head) { return changes_[{row, head}]; }
  [[nodiscard]] const AttentionChange* find(int64_t row, int head) const;

 private:
  std::map<std::pair<int64_t, int>, AttentionChange> changes_;
};

/// What happens to rows at one site of one layer: edits, then copies of the result.
class SiteHooks {
 public:
  void edit(int64_t row, const EditPlace& place);
  void capture(int64_t row, float* destination);
  /// Call once, after the last addition and before apply.
  void finish();
  [[nodiscard]] bool empty() const { return hooks_.empty(); }
  /// Whether anything happens to this row.
  [[nodiscard]] bool touches(int64_t row) const;
  /// Applies what concerns a row, in the order in which it was added, to its `width` floats.
  void apply(const Model& model, int64_t row, float* values, int64_t width) const;

 private:
  struct Hook {
    int64_t row = 0;
    EditPlace place;
    float* destination = nullptr;
  };
  [[nodiscard]] std::vector<Hook>::const_iterator first(int64_t row) const;
  std::vector<Hook> hooks_;
};

/// Tasks come from our own code: one that points outside its prompt or model is a fault of ours and
/// must not become a silent nothing; aborts.
void check_task(std::span<const PromptTokens> prompts, const Task& task, const ModelConfig& config);

/// The prompt and side that an edit of a task takes values from.
inline std::pair<int32_t, Side> donor_of(const Edit& edit, int32_t task_prompt) {
  return {edit.donor.prompt < 0 ? task_prompt : edit.donor.prompt, edit.donor.side};
}

/// Edits in the order in which a forward pass meets them.
std::vector<const Edit*> in_compute_order(const Intervention& intervention);

}  // namespace mechsweep
