#include "engine/site.h"

#include <algorithm>
#include <array>

#include "core/error.h"

namespace mechsweep {

std::span<const SiteInfo> site_table() {
  static constexpr std::array<SiteInfo, kSiteCount> kTable = {{
      {Site::resid_pre, "resid_pre", SiteHeads::none, "the residual stream entering a layer",
       "blocks.{layer}.hook_resid_pre"},
      {Site::q, "q", SiteHeads::query,
       "a query head's query, after bias and norm, before the rotary embedding",
       "blocks.{layer}.attn.hook_q"},
      {Site::k, "k", SiteHeads::key_value,
       "a key/value head's key, after bias and norm, before the rotary embedding",
       "blocks.{layer}.attn.hook_k"},
      {Site::v, "v", SiteHeads::key_value, "a key/value head's value",
       "blocks.{layer}.attn.hook_v"},
      {Site::pattern, "pattern", SiteHeads::query, "a query head's attention probabilities",
       "blocks.{layer}.attn.hook_pattern"},
      {Site::z, "z", SiteHeads::query,
       "a query head's weighted values, before the output projection",
       "blocks.{layer}.attn.hook_z"},
      {Site::attn_out, "attn_out", SiteHeads::none, "what attention adds to the residual stream",
       "blocks.{layer}.hook_attn_out"},
      {Site::resid_mid, "resid_mid", SiteHeads::none, "the residual stream after attention",
       "blocks.{layer}.hook_resid_mid"},
      {Site::mlp_in, "mlp_in", SiteHeads::none,
       "the residual stream as the MLP reads it (the stream itself is left alone)",
       "blocks.{layer}.hook_mlp_in"},
      {Site::mlp_norm, "mlp_norm", SiteHeads::none, "the same, normalised",
       "blocks.{layer}.ln2.hook_normalized"},
      {Site::mlp_hidden, "mlp_hidden", SiteHeads::none,
       "the MLP's hidden units: act(gate) * up, or the activation", "blocks.{layer}.mlp.hook_post"},
      {Site::mlp_out, "mlp_out", SiteHeads::none, "what the MLP adds to the residual stream",
       "blocks.{layer}.hook_mlp_out"},
      {Site::resid_post, "resid_post", SiteHeads::none, "the residual stream leaving a layer",
       "blocks.{layer}.hook_resid_post"},
  }};
  return kTable;
}

const SiteInfo& site_info(Site site) {
  const SiteInfo& info = site_table()[static_cast<size_t>(site)];
  ensure(info.site == site, "the table of sites is out of order");
  return info;
}

std::optional<Site> find_site(std::string_view name) {
  for (const SiteInfo& info : site_table())
    if (info.name == name) return info.site;
  return std::nullopt;
}

bool site_exists(Site site, const ModelConfig& config) {
  return site != Site::resid_mid || !config.parallel_residual;
}

void check_site(Site site, const ModelConfig& config) {
  if (!site_exists(site, config))
    fail(
        ErrorKind::usage,
        "site '{}' does not exist in architecture '{}': attention and MLP of a layer read the same "
        "residual stream there; use resid_pre or resid_post",
        site_info(site).name, config.architecture);
}

int site_head_count(Site site, const ModelConfig& config) {
  switch (site_info(site).heads) {
    case SiteHeads::none:
      return 0;
    case SiteHeads::query:
      return config.n_heads;
    case SiteHeads::key_value:
      return config.n_kv_heads;
  }
  return 0;
}

std::string shared_heads_text(Site site, const ModelConfig& config) {
  const int shared = config.n_heads / config.n_kv_heads;
  if (site_info(site).heads != SiteHeads::key_value || shared == 1) return "";
  if (config.n_kv_heads == 1)
    return fmt::format("key/value head 0 is read by all {} query heads", config.n_heads);
  return fmt::format("key/value head h is read by query heads {0} h to {0} h + {1}", shared,
                     shared - 1);
}

int64_t site_part_width(Site site, const ModelConfig& config) {
  if (site == Site::pattern) return 0;
  if (site_info(site).heads != SiteHeads::none) return config.head_size;
  return site == Site::mlp_hidden ? config.d_mlp : config.d_model;
}

int64_t site_width(Site site, const ModelConfig& config) {
  return site_part_width(site, config) * std::max(1, site_head_count(site, config));
}

}  // namespace mechsweep
