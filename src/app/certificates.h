#pragma once

#include <string>
#include <vector>

#include "app/model_host.h"
#include "core/json.h"
#include "engine/certificate.h"
#include "mpi/world.h"
#include "plan/plan.h"
#include "store/results_file.h"

namespace mechsweep {

/// A reference that was made from the model's very files. Throws Error{input} where it was not, or
/// is damaged.
Reference reference_of(const std::string& path, const ModelConfig& config,
                       const std::vector<FileHash>& model);

/// Collective, with the same `models` (indices into the plan's) on every rank: each of them is
/// certified by at least one rank, the one that is likely to compute with it first, and stays
/// loaded there. Gives, on rank 0, the worst outcome by model id for the attempt's record, and
/// warns of bits that differ and numbers that are not finite. Throws on all ranks: Error{input}
/// naming model, check and numbers where a model computes something else than it should, or where
/// its reference cannot be used.
Json certify_together(World& world, const Plan& plan, ModelHost& host,
                      const std::vector<int>& models);

/// What the certificates of all launches say of one model.
struct ModelCertificate {
  std::string model;
  bool passed = true;
  std::string reference = "none";
  std::string note;  ///< why a reference that was given was not compared; else empty
  std::string why;   ///< of the first launch that failed

  /// "passed, no reference", "passed, reference FILE (MAKERS)" or "FAILED: why".
  [[nodiscard]] std::string text() const;
};

/// By model id, in the order of the alphabet; models without a certificate on record are left out,
/// and so are facts of another shape than a run writes.
std::vector<ModelCertificate> model_certificates(const std::vector<AttemptRecord>& attempts);

}  // namespace mechsweep
