#pragma once

#include <span>
#include <string_view>

namespace mechsweep {

/// A site and its module in transformers.
struct SitePath {
  std::string_view site;
  std::string_view path;
};

/// The path of a site in a family's table; empty where the family has no such module.
inline std::string_view find_site_path(std::span<const SitePath> table, std::string_view site) {
  for (const SitePath& one : table)
    if (one.site == site) return one.path;
  return "";
}

}  // namespace mechsweep
