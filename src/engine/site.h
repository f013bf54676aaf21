#pragma once

#include <span>
#include <string>
#include <string_view>

#include "model/model_config.h"

namespace mechsweep {

/// A named activation (docs/user-guide.md, "Sites").
enum class Site { resid_pre, resid_mid, resid_post, z, attn_out, mlp_out };
inline constexpr int kSiteCount = 6;

struct SiteInfo {
  Site site;
  std::string_view name;
  bool per_head;
  std::string_view summary;
  std::string_view transformer_lens_hook;  ///< "{layer}" stands for the layer's number
};

/// Every site there is, in the order in which a layer computes them; the only list.
std::span<const SiteInfo> site_table();
const SiteInfo& site_info(Site site);
/// Width of a site's activation at one position: H E for z, D for the others.
int64_t site_width(Site site, const ModelConfig& config);

}  // namespace mechsweep
