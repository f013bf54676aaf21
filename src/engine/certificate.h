#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "engine/certificate_reference.h"
#include "engine/executor.h"
#include "model/checkpoint.h"

namespace mechsweep {

enum class CheckOutcome { passed, failed, skipped };
std::string_view check_outcome_name(CheckOutcome outcome);

/// One thing that was compared. Checks of bits count results that differ; the others measure how
/// far numbers lie apart.
struct CertificateCheck {
  std::string name;  ///< no_op, batch, executors, zeroed, direct or reference
  CheckOutcome outcome = CheckOutcome::skipped;
  bool compares_bits = false;
  bool non_finite = false;  ///< failed because the model gave NaN or infinity
  double worst = 0.0;       ///< results that differ, or the largest difference
  double bound = 0.0;       ///< in the unit of `worst`, which `detail` names
  std::string detail;       ///< what was compared with what, for people

  [[nodiscard]] bool failed() const { return outcome == CheckOutcome::failed; }
  /// "worst 3.1e-07, bound 2e-05", or "2 of 40 results differ".
  [[nodiscard]] std::string numbers() const;
};

/// What the battery says of a loaded model.
struct Certificate {
  std::string dtype;
  std::string kernels;
  std::string executor;
  /// "none", or the file, who made it, and what of the model its prompts do not reach.
  std::string reference = "none";
  std::string reference_note;  ///< why a reference that was given was not compared; else empty
  std::vector<CertificateCheck> checks;
  double elapsed_s = 0.0;

  /// No check failed. Skipped ones say why in their detail.
  [[nodiscard]] bool passed() const;
  /// The check whose numbers are finite and wrong: such a model must not be computed with. Null
  /// pointer when there is none; bits that differ and models that give NaN are no such case.
  [[nodiscard]] const CertificateCheck* mismatch() const;
  /// The first failed check in a sentence; empty when all passed.
  [[nodiscard]] std::string why() const;
  [[nodiscard]] Json to_json() const;
  /// The same in at most about 400 bytes, for /attempts: outcome, reference, the numbers of what
  /// was measured, and why it failed.
  [[nodiscard]] Json to_record() const;
};

struct CertifyOptions {
  std::string dtype = "float32";  ///< what the executors' model was loaded as
  std::string kernels = "native";
  /// Each site at several layers and by both executors, direct contributions head by head. Without
  /// it a few passes over the weights, and of the checkpoint only vectors and some rows are read.
  bool thorough = true;
  /// The reference to compare with, already checked to be this model's; null pointer: none.
  const Reference* reference = nullptr;
};

/// Runs the battery (docs/models.md, "Certificates") on a loaded model: `executor` is the one that
/// is vouched for, `other` another kind of executor on the same model. Sums and products that the
/// model is measured against are made here in double precision from the tensors of `checkpoint`.
/// Throws Error{input} where those cannot be read, Error{resource} when memory runs out.
Certificate certify(const Checkpoint& checkpoint, Executor& executor, Executor& other,
                    const CertifyOptions& options);

}  // namespace mechsweep
