#pragma once

#include <memory>
#include <string>
#include <vector>

#include "model/tokenizer.h"

namespace mechsweep {

/// The tokenizer of a model's folder: tokenizer.json, with tokenizer_config.json where that is
/// there. Null pointer where the folder has none. Appends the files that were read to `files` when
/// given. Throws Error{input} naming file and key.
std::unique_ptr<Tokenizer> open_tokenizer(const std::string& folder,
                                          std::vector<std::string>* files = nullptr);

}  // namespace mechsweep
