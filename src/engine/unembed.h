#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "engine/readout.h"
#include "model/model.h"

namespace mechsweep {

/// One row of the final residual stream and what to keep of its logits.
struct UnembedRow {
  const float* resid = nullptr;  ///< D floats
  const ReadPoint* point = nullptr;
  /// In the order of ReadPoint::kl: the final residual rows of the runs to compare with.
  std::vector<const float*> references;
};

/// Final norm, logits a vocabulary tile at a time, and their reduction in a fixed order, so that a
/// row's reading depends on that row (and its references) only. Whole rows of logits are held only
/// for those that ask for ranks, top tokens, divergences or the logits themselves, and no more than
/// kHeldLogitBytes of them at once (at least one row and its references).
std::vector<Reading> unembed(const Model& model, ThreadPool& pool,
                             std::span<const UnembedRow> rows);

/// Whether a reading takes a whole row of logits.
bool needs_all_logits(const ReadPoint& point);

inline constexpr int64_t kHeldLogitBytes = int64_t{64} << 20;

}  // namespace mechsweep
