#pragma once

#include <memory>
#include <string>

#include "prompts/copy_pairs.h"
#include "prompts/prompt_table.h"

namespace mechsweep {

/// The prompts of unique_copy and reversed_unique_copy: prefix, then `length` distinct tokens, a
/// separator, and the same tokens again, forward or backward. Before this part that counts stand
/// `examples` parts of the same form, each with tokens of its own and the example separator after
/// it; without examples it is the single-shot form, for models that are trained on the task. No
/// token occurs in two parts, so the source of every copied token is unambiguous.
///
/// Every token of the second part is a target, the first one read at the separator. Spans: first,
/// separator, second, and examples where there are any (all that stands before `first`). Pairs as
/// of add_copy_pairs, with keys in `first`, for every position of the second part at which a token
/// is still to be copied.
std::unique_ptr<PromptSource> parse_copy_task(const std::string& id, MapReader& reader,
                                              CopyOrder order);

}  // namespace mechsweep
