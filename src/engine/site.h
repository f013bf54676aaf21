#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "model/model_config.h"

namespace mechsweep {

/// A named activation (docs/user-guide.md, "Sites"), in the order in which a layer computes them:
/// where several edits meet, they act in this order.
enum class Site {
  resid_pre,
  q,
  k,
  v,
  pattern,
  z,
  attn_out,
  resid_mid,
  mlp_in,
  mlp_norm,
  mlp_hidden,
  mlp_out,
  resid_post
};
inline constexpr int kSiteCount = 13;

/// Whether an activation is one vector a position, or one for each head.
enum class SiteHeads { none, query, key_value };

struct SiteInfo {
  Site site;
  std::string_view name;
  SiteHeads heads;
  std::string_view summary;
  std::string_view transformer_lens_hook;  ///< "{layer}" stands for the layer's number
};

/// Every site there is, in the order of Site; the only list.
std::span<const SiteInfo> site_table();
const SiteInfo& site_info(Site site);
std::optional<Site> find_site(std::string_view name);

/// Whether models of this kind have the site: with a parallel residual there is no resid_mid.
bool site_exists(Site site, const ModelConfig& config);
/// Throws Error{usage} where they do not.
void check_site(Site site, const ModelConfig& config);

/// Heads that a site has: H, K, or 0 where it has none.
int site_head_count(Site site, const ModelConfig& config);
/// Which query heads read a head of a site with key/value heads that are shared: "key/value head h
/// is read by query heads 3 h to 3 h + 2"; empty where every head has its own.
std::string shared_heads_text(Site site, const ModelConfig& config);
/// Numbers of one head (of the whole site where it has none): E, D or F. For pattern 0: a row of it
/// is as long as the prompt.
int64_t site_part_width(Site site, const ModelConfig& config);
/// Numbers of the whole site at one position: part width times heads. Not for pattern.
int64_t site_width(Site site, const ModelConfig& config);

}  // namespace mechsweep
