#pragma once

#include <cstdint>

#include "prompts/prompt.h"

namespace mechsweep {

/// In which order earlier tokens are copied, and so on which side of a token's earlier copy the
/// answer stands: after it, or before it.
enum class CopyOrder { forward, backward };

/// Adds to `prompt.pairs` where `query` may look whose token stood at position `earlier` before:
///   previous         the position before the query
///   duplicate        the earlier copy of its token
///   induction        the position after that copy
///   anti_induction   the position before that copy
///   source           the one of these two that holds the answer
/// A key of induction, anti_induction or source outside of `keys` does not count, nor does one that
/// is not before the query; a previous position in the prefix does not count either.
void add_copy_pairs(Prompt& prompt, int32_t query, int32_t earlier, Span keys, CopyOrder order);

}  // namespace mechsweep
