#include "engine/site.h"

#include <array>

#include "core/error.h"

namespace mechsweep {

std::span<const SiteInfo> site_table() {
  static constexpr std::array<SiteInfo, kSiteCount> kTable = {{
      {Site::resid_pre, "resid_pre", false, "the residual stream entering a layer",
       "blocks.{layer}.hook_resid_pre"},
      {Site::z, "z", true, "a query head's weighted values, before the output projection",
       "blocks.{layer}.attn.hook_z"},
      {Site::attn_out, "attn_out", false, "what attention adds to the residual stream",
       "blocks.{layer}.hook_attn_out"},
      {Site::resid_mid, "resid_mid", false, "the residual stream after attention",
       "blocks.{layer}.hook_resid_mid"},
      {Site::mlp_out, "mlp_out", false, "what the MLP adds to the residual stream",
       "blocks.{layer}.hook_mlp_out"},
      {Site::resid_post, "resid_post", false, "the residual stream leaving a layer",
       "blocks.{layer}.hook_resid_post"},
  }};
  return kTable;
}

const SiteInfo& site_info(Site site) {
  for (const auto& info : site_table())
    if (info.site == site) return info;
  ensure(false, "a site is missing from the table");
  return site_table().front();
}

int64_t site_width(Site site, const ModelConfig& config) {
  return site == Site::z ? int64_t{config.n_heads} * config.head_size : config.d_model;
}

}  // namespace mechsweep
