#include "model/token_decoder.h"

#include <optional>

#include "core/error.h"
#include "model/unicode_text.h"

namespace mechsweep {
namespace {

using Tokens = std::vector<std::string>;

std::string replace_all(const SplitRegex& pattern, std::string_view token,
                        std::string_view content) {
  // Byte tokens that are no characters yet keep their bytes.
  if (!is_utf8(token)) return std::string(token);
  std::string result;
  int32_t done = 0;
  for (const Span& match : pattern.find_all(token)) {
    result += part_of(token, {done, match.begin});
    result += content;
    done = match.end;
  }
  return result + std::string(token.substr(static_cast<size_t>(done)));
}

void apply(const ReplaceInToken& step, Tokens& tokens) {
  for (std::string& token : tokens) token = replace_all(step.pattern, token, step.content);
}

/// The byte that a byte token stands for.
std::optional<char> byte_of_token(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return std::nullopt;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const bool digit = c >= '0' && c <= '9';
    const bool upper = c >= 'A' && c <= 'F';
    const bool lower = c >= 'a' && c <= 'f';
    if (!digit && !upper && !lower) return std::nullopt;
    value = value * 16 + (digit ? c - '0' : upper ? c - 'A' + 10 : c - 'a' + 10);
  }
  return static_cast<char>(value);
}

void apply(const BytesOfTokens&, Tokens& tokens) {
  Tokens result;
  bool bytes_before = false;
  for (std::string& token : tokens) {
    const std::optional<char> byte = byte_of_token(token);
    if (byte && bytes_before) {
      result.back() += *byte;
    } else {
      result.push_back(byte ? std::string(1, *byte) : std::move(token));
    }
    bytes_before = byte.has_value();
  }
  tokens = std::move(result);
}

void apply(const FuseTokens&, Tokens& tokens) {
  std::string all;
  for (const std::string& token : tokens) all += token;
  tokens = {std::move(all)};
}

void apply(const StripFromToken& step, Tokens& tokens) {
  for (std::string& token : tokens) {
    std::string_view rest = token;
    for (size_t i = 0; i < step.start && rest.starts_with(step.content); ++i) {
      rest.remove_prefix(step.content.size());
    }
    for (size_t i = 0; i < step.stop && rest.ends_with(step.content); ++i) {
      rest.remove_suffix(step.content.size());
    }
    token = std::string(rest);
  }
}

void apply(const MetaspaceToSpace& step, Tokens& tokens) {
  const SplitRegex sign = SplitRegex::from_literal(step.replacement);
  for (size_t i = 0; i < tokens.size(); ++i) {
    tokens[i] = replace_all(sign, tokens[i], i == 0 && step.prepended ? "" : " ");
  }
}

}  // namespace

std::string TokenDecoder::decode(std::vector<std::string> tokens) const {
  for (const auto& step : steps) {
    std::visit([&](const auto& kind) { apply(kind, tokens); }, step);
  }
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) text += (i > 0 ? separator : "") + tokens[i];
  return text;
}

}  // namespace mechsweep
