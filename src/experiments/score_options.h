#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/config_node.h"
#include "core/json.h"

namespace mechsweep {

/// Which earlier occurrences of a query's token count.
enum class Occurrence { latest, first, all };

/// Whether scores are stored for every query position as well, and over which heads.
enum class PositionScores { none, layers, heads };

/// `null_sources:`: copy scores at sources that are none (stats/matched_antecedents.h).
struct NullOptions {
  int64_t draws = 0;
  int32_t max_shift = 0;
};

/// The checked keys of `kind: attention_scores`.
struct ScoreOptions {
  std::vector<std::string> scores;
  Occurrence occurrence = Occurrence::latest;
  bool diagonal = false;  ///< queries: all of a diagonal, whatever they hold; else content queries
  PositionScores by_position = PositionScores::none;
  std::vector<int32_t> lags;  ///< ascending; empty: no scores by lag
  int32_t lag_split = 0;      ///< scores of lags up to it and above it; 0: none
  std::optional<NullOptions> null;
  double top_fraction = 1.0;  ///< of each layer's heads, for a second profile; 1: none
  bool chosen_anew = false;   ///< `top_heads: each_resample`; else chosen on half_a

  [[nodiscard]] Json to_json() const;  ///< every key, defaults filled in
  /// The names of `scores` that are copy scores.
  [[nodiscard]] std::vector<std::string> copy_scores() const;
};

ScoreOptions parse_score_options(MapReader& reader);

/// previous_token, duplicate_token, induction, anti_induction.
bool is_built_in_score(const std::string& name);
/// Where the key of a copy score lies, from the source: 0, 1, -1; nothing for other scores.
std::optional<int32_t> key_offset_of(const std::string& score);
/// The pairs that a score which is not built in names: `NAME`, or `pairs.NAME` where NAME is that
/// of a built-in score.
std::string name_of_pairs(const std::string& score);

/// The array of all offsets -2..2.
inline constexpr const char* kOffsetArray = "offset_score";
/// Folders of the arrays that hold a score by lag, by lags up to the split and above it, by query
/// position, and at null sources. NAME/x there is metric x_SUFFIX.
inline constexpr const char* kByLag = "by_lag";
inline constexpr const char* kByLagRange = "by_lag_range";
inline constexpr const char* kByPosition = "by_position";
inline constexpr const char* kNullFolder = "null";

}  // namespace mechsweep
