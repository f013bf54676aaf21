#include "model/tokenizer_steps.h"

#include <array>
#include <functional>
#include <unordered_map>
#include <utility>

namespace mechsweep {
namespace {

using Path = const std::string&;

const std::string& text_field(const Json& step, const std::string& key, Path path) {
  return as_text(require_field(step, key, path), field_path(path, key));
}

/// A field that holds exactly one character.
const std::string& character_field(const Json& step, const std::string& key, Path path) {
  const std::string& text = text_field(step, key, path);
  check_utf8(text, field_path(path, key));
  if (text.empty() || bytes_of_code_points(text, 1) != text.size()) {
    fail(ErrorKind::input, "{} is {}, but must be one character", field_path(path, key),
         show_text(text));
  }
  return text;
}

SplitRegex read_pattern(const Json& step, Path path) {
  const std::string pattern_path = field_path(path, "pattern");
  const Json& pattern = require_field(step, "pattern", path);
  const Json& literal = field_or_null(pattern, "String", pattern_path);
  if (!literal.is_null()) {
    return SplitRegex::from_literal(as_text(literal, field_path(pattern_path, "String")));
  }
  return SplitRegex::from_pattern(text_field(pattern, "Regex", pattern_path));
}

std::string read_content(const Json& step, Path path) {
  const std::string& content = text_field(step, "content", path);
  check_utf8(content, field_path(path, "content"));
  // Newer versions of the reference put groups of the match in here.
  if (content.find('$') != std::string::npos && !require_field(step, "pattern", path).is_null() &&
      step.at("pattern").contains("Regex")) {
    refuse_unsupported(field_path(path, "content"), "a text with '$' for a regular expression");
  }
  return content;
}

Normalizer::Step read_strip(const Json& step, Path path) {
  const bool left = flag_or(step, "strip_left", true, path);
  return strip_step(left, flag_or(step, "strip_right", true, path));
}

Normalizer::Step read_prepend(const Json& step, Path path) {
  const std::string& content = text_field(step, "prepend", path);
  check_utf8(content, field_path(path, "prepend"));
  return prepend_step(content);
}

Normalizer::Step read_charsmap(const Json& step, Path path) {
  const std::string key_path = field_path(path, "precompiled_charsmap");
  return charsmap_step(
      Charsmap::from_base64(text_field(step, "precompiled_charsmap", path), key_path));
}

Normalizer::Step read_normalizer_step(const Json& step, const std::string& type, Path path) {
  using Reader = std::function<Normalizer::Step(const Json&, Path)>;
  auto form = [](NormalForm f) { return [f](const Json&, Path) { return normal_form_step(f); }; };
  static const std::unordered_map<std::string, Reader> readers{
      {"NFC", form(NormalForm::nfc)},
      {"NFD", form(NormalForm::nfd)},
      {"NFKC", form(NormalForm::nfkc)},
      {"NFKD", form(NormalForm::nfkd)},
      {"Lowercase", [](const Json&, Path) { return lowercase_step(); }},
      {"StripAccents", [](const Json&, Path) { return strip_accents_step(); }},
      {"Nmt", [](const Json&, Path) { return nmt_step(); }},
      {"Strip", read_strip},
      {"Prepend", read_prepend},
      {"Precompiled", read_charsmap},
      {"Replace",
       [](const Json& s, Path p) { return replace_step(read_pattern(s, p), read_content(s, p)); }},
  };
  auto found = readers.find(type);
  if (found == readers.end()) refuse_unsupported(path, show_text(type));
  return found->second(step, path);
}

SplitBehavior read_behavior(const Json& step, Path path) {
  constexpr std::array<std::pair<std::string_view, SplitBehavior>, 5> kBehaviors{{
      {"Isolated", SplitBehavior::isolated},
      {"Removed", SplitBehavior::removed},
      {"MergedWithPrevious", SplitBehavior::merged_with_previous},
      {"MergedWithNext", SplitBehavior::merged_with_next},
      {"Contiguous", SplitBehavior::contiguous},
  }};
  const std::string& name = text_field(step, "behavior", path);
  for (const auto& [known, behavior] : kBehaviors) {
    if (name == known) return behavior;
  }
  fail(ErrorKind::input, "{} is {}, which is no split behavior", field_path(path, "behavior"),
       show_text(name));
}

/// Whether a Metaspace step puts its sign before texts: `prepend_scheme`, in older files
/// `add_prefix_space`.
MetaspaceStep::Prepend read_prepend_scheme(const Json& step, Path path) {
  using Prepend = MetaspaceStep::Prepend;
  const std::string key_path = field_path(path, "prepend_scheme");
  const Json& value = field_or_null(step, "prepend_scheme", path);
  if (value.is_null()) {
    return flag_or(step, "add_prefix_space", true, path) ? Prepend::always : Prepend::never;
  }
  const std::string& name = as_text(value, key_path);
  if (name == "always") return Prepend::always;
  if (name == "first") return Prepend::first;
  if (name != "never") {
    fail(ErrorKind::input, "{} is {}, but must be always, first or never", key_path,
         show_text(name));
  }
  return Prepend::never;
}

void read_split_step(const Json& step, const std::string& type, Path path,
                     PretokenizerStage& stage) {
  auto& steps = stage.pretokenizer.steps;
  auto split = [&](std::string_view pattern, SplitBehavior behavior, bool invert = false) {
    steps.emplace_back(SplitStep{SplitRegex::from_pattern(pattern), behavior, invert});
  };
  if (type == "Split") {
    steps.emplace_back(SplitStep{read_pattern(step, path), read_behavior(step, path),
                                 flag_or(step, "invert", false, path)});
  } else if (type == "Digits") {
    const bool single = flag_or(step, "individual_digits", false, path);
    split("\\p{N}", single ? SplitBehavior::isolated : SplitBehavior::contiguous);
  } else if (type == "Punctuation") {
    split(R"([!-/:-@\[-`{-~\p{P}])",
          step.contains("behavior") ? read_behavior(step, path) : SplitBehavior::isolated);
  } else if (type == "Whitespace") {
    // Words with joiners in them, which this reader's \w leaves out.
    split(R"([\w\x{200C}\x{200D}]+|[^\w\x{200C}\x{200D}\s]+)", SplitBehavior::removed, true);
  } else if (type == "WhitespaceSplit") {
    split("\\s", SplitBehavior::removed);
  } else if (type == "CharDelimiterSplit") {
    steps.emplace_back(SplitStep{SplitRegex::from_literal(character_field(step, "delimiter", path)),
                                 SplitBehavior::removed});
  } else if (type == "Metaspace") {
    MetaspaceStep metaspace;
    metaspace.replacement = character_field(step, "replacement", path);
    metaspace.prepend = read_prepend_scheme(step, path);
    metaspace.split = flag_or(step, "split", true, path);
    steps.emplace_back(std::move(metaspace));
  } else if (type == "ByteLevel") {
    stage.byte_level = true;
    if (flag_or(step, "add_prefix_space", true, path)) steps.emplace_back(SpaceStep{});
    if (flag_or(step, "use_regex", true, path)) split(kGpt2Pattern, SplitBehavior::isolated);
  } else {
    refuse_unsupported(path, show_text(type));
  }
}

size_t read_count(const Json& step, const std::string& key, Path path) {
  return static_cast<size_t>(as_token_id(require_field(step, key, path), field_path(path, key)));
}

void read_decoder_step(const Json& step, const std::string& type, Path path,
                       TokenDecoder& decoder) {
  if (type == "Replace") {
    decoder.steps.emplace_back(ReplaceInToken{read_pattern(step, path), read_content(step, path)});
  } else if (type == "ByteFallback") {
    decoder.steps.emplace_back(BytesOfTokens{});
  } else if (type == "Fuse") {
    decoder.steps.emplace_back(FuseTokens{});
  } else if (type == "Strip") {
    decoder.steps.emplace_back(StripFromToken{character_field(step, "content", path),
                                              read_count(step, "start", path),
                                              read_count(step, "stop", path)});
  } else if (type == "Metaspace") {
    decoder.steps.emplace_back(
        MetaspaceToSpace{character_field(step, "replacement", path),
                         read_prepend_scheme(step, path) != MetaspaceStep::Prepend::never});
  } else {
    refuse_unsupported(path, show_text(type));
  }
}

}  // namespace

void refuse_unsupported(const std::string& path, const std::string& what) {
  fail(ErrorKind::input, "{} is {}, which is not supported; give prompts as token ids", path, what);
}

Normalizer read_normalizer(const Json& stage) {
  Normalizer result;
  for_each_step(stage, "normalizer", "normalizers",
                [&](const Json& step, const std::string& type, const std::string& path) {
                  result.add(read_normalizer_step(step, type, path));
                });
  return result;
}

PretokenizerStage read_pretokenizer(const Json& stage) {
  PretokenizerStage result;
  for_each_step(stage, "pre_tokenizer", "pretokenizers",
                [&](const Json& step, const std::string& type, const std::string& path) {
                  if (result.byte_level) {
                    refuse_unsupported(path,
                                       fmt::format("a {} step after ByteLevel", show_text(type)));
                  }
                  read_split_step(step, type, path, result);
                });
  return result;
}

TokenDecoder read_decoder(const Json& stage, bool byte_level) {
  TokenDecoder decoder;
  // The reference puts spaces between tokens that nothing says how to join. Where the text was
  // split into bytes there is but one way to read them.
  if (stage.is_null() && !byte_level) decoder.separator += ' ';
  for_each_step(stage, "decoder", "decoders",
                [&](const Json& step, const std::string& type, const std::string& path) {
                  if (type == "ByteLevel" && byte_level) return;
                  read_decoder_step(step, type, path, decoder);
                });
  return decoder;
}

}  // namespace mechsweep
