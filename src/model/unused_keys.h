#pragma once

#include <string>
#include <vector>

#include "model/checkpoint.h"

namespace mechsweep {

/// The keys of a checkpoint's config.json, or of a GGUF file's metadata, that decide nothing: the
/// model would be the same, and be accepted, with any other value. Found by trying, not from a
/// list: each key in turn gets a value that no reader takes, and the model is read again. A key
/// that is read counts as used, also where it makes no difference. Keys of maps have their map in
/// front ("rope_scaling.mscale"). Left out are GGUF's keys about the tokenizer, whose reader
/// refuses what it does not know, and `general.`, which describe the file.
std::vector<std::string> unused_config_keys(const Checkpoint& checkpoint);

/// Tensors of the checkpoint that no layer reads: masks, rotary tables, copies of tied weights.
std::vector<std::string> unused_tensors(const Checkpoint& checkpoint);

}  // namespace mechsweep
