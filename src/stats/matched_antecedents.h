#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace mechsweep {

/// A copy: the query holds the token that the source, an earlier position, holds too. Positions
/// count stored tokens from 0, prefix included; the lag is query - source.
struct CopyOperation {
  int32_t query = 0;
  int32_t source = 0;
};

/// Adds the lags of `operations` to `counts`, which has one number per lag and grows as needed.
void count_lags(std::span<const CopyOperation> operations, std::vector<int64_t>& counts);

/// What a null source has to keep to.
struct AntecedentRules {
  int32_t prefix_length = 0;  ///< leading tokens that are neither source nor key
  /// The key that is scored lies at source + key_offset: 1 for induction, 0 for duplicate tokens,
  /// -1 for anti-induction.
  int32_t key_offset = 1;
  /// How far a lag may be moved where no lag of the set fits; 0: not at all.
  int32_t max_shift = 0;
};

/// What the random numbers of one draw depend on, and nothing else.
struct AntecedentDraw {
  uint64_t seed = 0;
  std::string purpose;
  uint32_t prompt = 0;
  uint32_t draw = 0;
};

/// Where the lag of a null source comes from.
enum class LagOrigin {
  shuffled,  ///< from another operation of the prompt
  drawn,     ///< from the lags of the set
  shifted,   ///< the operation's own, moved
  none,      ///< no source is possible
};

/// Null sources of one prompt, by operation.
struct MatchedAntecedents {
  std::vector<int32_t> sources;  ///< -1 where none is possible
  std::vector<LagOrigin> origins;
  [[nodiscard]] int64_t count(LagOrigin origin) const;
};

/// Shuffled antecedents: for every copy operation (t, s) of one prompt a source s' that t does not
/// copy, with the lags of the true ones. The null of an attention score is the same score at s'.
///
/// s' is possible when s' and its key s' + key_offset lie behind the prefix, both before t;
/// tokens[s'] differs from tokens[t]; the key holds neither the token of the true key nor the one
/// that follows t (what a copying head would be after); and s' is not yet another null source of t.
///
/// Lags: operations in ascending order of t take, one by one, a lag that is possible at t from
/// those of the prompt's operations that are left, each as likely as the others. An operation's own
/// lag is never possible, since its source matches; that the order is ascending lets early
/// operations, where only short lags fit, choose first. Where nothing is possible among what is
/// left (the last ones may find only their own; in a prompt with one lag all do), the lag is drawn
/// from the lags of the set (`set_lags`, count_lags over all prompts) among those that are possible
/// at t, in proportion to their number. Where none of those is either (a set with one lag), the
/// operation's own lag is moved by as little as possible, up to max_shift, either way equally
/// likely; such a key must not hold t's token, as it often would right beside the true source. What
/// is still without a source is `none`: it has to be left out of the score as well as of the null,
/// so that both are over the same operations.
///
/// How well lags are matched follows from the counts of origins and the lags of `sources`, and
/// belongs in a report. Null sources are never the true ones, so that a score is no draw from its
/// own null: where a query has n possible sources and attends at random, the score varies by a
/// factor of about sqrt((n + 1) / (n - 1)) more than its null draws do, and p-values against these
/// are too small. A test compares each prompt's score with the mean of its null draws
/// (compare_paired).
///
/// Operations have their key before t and behind the prefix (for induction: lags of 2 and more).
MatchedAntecedents match_antecedents(std::span<const int32_t> tokens,
                                     std::span<const CopyOperation> operations,
                                     std::span<const int64_t> set_lags,
                                     const AntecedentRules& rules, const AntecedentDraw& draw);

}  // namespace mechsweep
