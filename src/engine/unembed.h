#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/thread_pool.h"
#include "engine/readout.h"
#include "model/model.h"

namespace mechsweep {

/// One row of the final residual stream and the tokens tracked on it.
struct UnembedRow {
  const float* resid = nullptr;  ///< D floats
  std::span<const int32_t> tracked;
};

/// Final norm, logits a vocabulary tile at a time, and their reduction in a fixed order, so that a
/// row's reading depends on that row only. No more than one tile of logits a thread is ever held.
std::vector<Reading> unembed(const Model& model, ThreadPool& pool,
                             std::span<const UnembedRow> rows);

}  // namespace mechsweep
