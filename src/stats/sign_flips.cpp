#include "stats/sign_flips.h"

#include "core/error.h"
#include "core/random.h"

namespace mechsweep {

SignFlips draw_sign_flips(int64_t clusters, const SignFlipOptions& options) {
  ensure(clusters >= 1, "sign flips need at least one cluster");
  if (options.flips < 1)
    fail(ErrorKind::usage, "sign flips: {} are asked for; give at least 1, 1000 or more advised",
         options.flips);
  SignFlips result{.clusters = clusters, .words = (clusters + 63) / 64};
  result.exact = clusters < 63 && (int64_t{1} << clusters) <= options.flips;
  result.flips = result.exact ? int64_t{1} << clusters : options.flips;
  result.bits.reserve(result.flips * result.words);
  for (int64_t flip = 0; flip < result.flips; ++flip) {
    if (result.exact) {
      result.bits.push_back(static_cast<uint64_t>(flip));
      continue;
    }
    RandomStream stream(options.seed, options.purpose, static_cast<uint64_t>(flip));
    for (int64_t word = 0; word < result.words; ++word) result.bits.push_back(stream.next_u64());
  }
  return result;
}

}  // namespace mechsweep
