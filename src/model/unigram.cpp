#include "model/unigram.h"

#include <algorithm>

#include "core/error.h"
#include "model/unicode_text.h"

namespace mechsweep {
namespace {

constexpr int32_t kNone = -1;
/// What SentencePiece takes off the lowest score for an unknown character.
constexpr double kUnknownPenalty = 10.0;

}  // namespace

/// The best way to read the piece up to some place.
struct UnigramEncoder::Node {
  double score = 0;
  int32_t begin = kNone;  ///< of its last token; none: not reached
  int32_t id = kNone;
};

UnigramEncoder::UnigramEncoder(UnigramData data)
    : unknown_token_(data.unknown_token), byte_fallback_(data.byte_fallback) {
  std::vector<std::pair<std::string, int32_t>> entries;
  for (const auto& [token, score] : data.pieces) {
    const auto id = static_cast<int32_t>(scores_.size());
    check_utf8(token, fmt::format("the token with id {}", id));
    unknown_score_ = scores_.empty() ? score : std::min(unknown_score_, score);
    scores_.push_back(score);
    if (!ids_.emplace(token, id).second) {
      fail(ErrorKind::input, "the vocabulary has {} twice, at {} and {}; get the tokenizer again",
           show_text(token), ids_.at(token), id);
    }
    if (!token.empty()) entries.emplace_back(token, id);
  }
  unknown_score_ -= kUnknownPenalty;
  if (unknown_token_ &&
      (*unknown_token_ < 0 || static_cast<size_t>(*unknown_token_) >= scores_.size())) {
    fail(ErrorKind::input, "the unknown token has id {}, but there are {} tokens", *unknown_token_,
         scores_.size());
  }
  for (size_t byte = 0; byte < byte_ids_.size(); ++byte) {
    byte_ids_[byte] = find_token(ids_, byte_token(static_cast<uint8_t>(byte)));
    if (byte_fallback_ && byte_ids_[byte] == kNone) {
      fail(ErrorKind::input,
           "the tokenizer falls back to bytes, but its vocabulary has no token {}; get it again",
           byte_token(static_cast<uint8_t>(byte)));
    }
  }
  tokens_ = ByteTrie(std::move(entries));
}

std::vector<UnigramEncoder::Node> UnigramEncoder::best_paths(std::string_view piece) const {
  std::vector<Node> ends(piece.size() + 1);
  for (size_t at = 0; at < piece.size();) {
    const auto character = static_cast<size_t>(code_point_at(piece, at).length);
    const double before = ends[at].score;
    auto offer = [&](size_t length, double score, int32_t id) {
      Node& end = ends[at + length];
      if (end.begin != kNone && before + score <= end.score) return;
      end = {before + score, static_cast<int32_t>(at), id};
    };
    bool single = false;
    tokens_.visit_prefixes(piece.substr(at), [&](size_t length, int32_t id) {
      offer(length, scores_[static_cast<size_t>(id)], id);
      single = single || length == character;
    });
    if (!single) {
      if (!unknown_token_) {
        fail(ErrorKind::input,
             "the tokenizer has no token for the character {} and names no unknown token; remove "
             "that character",
             show_text(piece.substr(at, character)));
      }
      offer(character, unknown_score_, *unknown_token_);
    }
    at += character;
  }
  return ends;
}

void UnigramEncoder::add_unknown(std::string_view piece, Span bytes, Encoding& out) const {
  const std::string_view text = part_of(piece, bytes);
  const int32_t known = find_token(ids_, text);
  if (known != kNone || !byte_fallback_) {
    out.ids.push_back(known != kNone ? known : *unknown_token_);
    out.bytes.push_back(bytes);
    return;
  }
  for (const char byte : text) {
    out.ids.push_back(byte_ids_[static_cast<uint8_t>(byte)]);
    out.bytes.push_back(bytes);
  }
}

void UnigramEncoder::encode(std::string_view piece, Encoding& out) const {
  const std::vector<Node> ends = best_paths(piece);
  std::vector<std::pair<Span, int32_t>> tokens;  // from the last to the first
  for (auto end = static_cast<int32_t>(piece.size()); end > 0;) {
    const Node& node = ends[static_cast<size_t>(end)];
    const bool unknown = node.id == unknown_token_;
    if (unknown && !tokens.empty() && tokens.back().second == kNone) {
      tokens.back().first.begin = node.begin;
    } else {
      tokens.push_back({{node.begin, end}, unknown ? kNone : node.id});
    }
    end = node.begin;
  }
  for (auto token = tokens.rbegin(); token != tokens.rend(); ++token) {
    if (token->second == kNone) {
      add_unknown(piece, token->first, out);
    } else {
      out.ids.push_back(token->second);
      out.bytes.push_back(token->first);
    }
  }
}

}  // namespace mechsweep
