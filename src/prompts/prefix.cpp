#include "prompts/prefix.h"

#include <limits>

namespace mechsweep {

Json Prefix::to_json() const {
  switch (kind) {
    case Kind::none:
      return "none";
    case Kind::bos:
      return "bos";
    case Kind::token:
      return token;
  }
  return nullptr;
}

Prefix parse_prefix(const ConfigNode& node, Problems& problems) {
  if (node.kind == ConfigNode::Kind::scalar) {
    if (node.scalar == "none") return {Prefix::Kind::none, 0};
    if (node.scalar == "bos") return {Prefix::Kind::bos, 0};
    Problems not_an_id;
    const auto id = node_integer(node, not_an_id, 0, std::numeric_limits<int32_t>::max());
    if (id) return {Prefix::Kind::token, static_cast<int32_t>(*id)};
  }
  problems.add(node, "must be none, bos or a token id of at least 0");
  return {};
}

Prefix require_prefix(MapReader& reader) {
  const ConfigNode* node = reader.require("prefix");
  return node ? parse_prefix(*node, reader.problems()) : Prefix{};
}

std::vector<int32_t> prefix_tokens(const Prefix& prefix, const PromptContext& context) {
  switch (prefix.kind) {
    case Prefix::Kind::none:
      return {};
    case Prefix::Kind::bos:
      if (context.bos_token < 0)
        fail(ErrorKind::usage,
             "prefix: bos does not fit this model, which names no beginning-of-sequence token; "
             "give a token id, or none");
      return {context.bos_token};
    case Prefix::Kind::token:
      if (prefix.token >= context.vocab_size)
        fail(ErrorKind::usage, "prefix: {} is not a token of this model, whose ids end at {}",
             prefix.token, context.vocab_size - 1);
      return {prefix.token};
  }
  return {};
}

}  // namespace mechsweep
