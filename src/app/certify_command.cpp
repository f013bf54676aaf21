#include <cstdio>
#include <optional>

#include "app/certificates.h"
#include "app/commands.h"
#include "core/error.h"
#include "core/group.h"
#include "engine/certificate.h"
#include "engine/model_session.h"
#include "plan/model_hash.h"

namespace mechsweep {

namespace {

std::string verdict(const Certificate& certificate) {
  if (!certificate.passed()) return "FAILED: " + certificate.why();
  if (!certificate.reference_note.empty())
    return "passed, but without a reference: " + certificate.reference_note;
  if (certificate.reference == "none") return "passed; no reference was given to compare with";
  return "passed; reference " + certificate.reference;
}

void print_text(const std::string& path, const Certificate& certificate) {
  std::printf("%s as %s, %s kernels, %s executor\n", path.c_str(), certificate.dtype.c_str(),
              certificate.kernels.c_str(), certificate.executor.c_str());
  for (const CertificateCheck& check : certificate.checks) {
    const bool skipped = check.outcome == CheckOutcome::skipped;
    std::printf("%-8s %-10s %s%s%s\n",
                skipped          ? "skipped"
                : check.failed() ? "FAILED"
                                 : "ok",
                check.name.c_str(), skipped ? "" : check.numbers().c_str(), skipped ? "" : ": ",
                check.detail.c_str());
  }
  std::printf("certificate %s (%.1f s)\n", verdict(certificate).c_str(), certificate.elapsed_s);
}

}  // namespace

int certify_command(const CertifyCommandOptions& options) {
  for (const char* ending : {".h5", ".jsonl"})
    if (options.path.ends_with(ending))
      fail(ErrorKind::usage, "{}: --certify wants a model folder or a GGUF file", options.path);
  const Checkpoint checkpoint = open_checkpoint(options.path);
  std::optional<Reference> reference;
  if (!options.reference.empty())
    reference = reference_of(options.reference, checkpoint.config, hash_files(checkpoint.files));
  SoloGroup group;
  const auto session = open_model(checkpoint, group,
                                  {.executor = options.executor,
                                   .kernels = options.kernels,
                                   .dtype = options.dtype,
                                   .threads = options.threads});
  const Certificate certificate =
      session->certify(checkpoint, true, reference ? &*reference : nullptr);
  if (options.json) {
    Json json = certificate.to_json();
    json["path"] = options.path;
    std::printf("%s\n", json.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
  } else {
    print_text(options.path, certificate);
  }
  if (certificate.passed()) return kExitDone;
  // Bits that differ are the machine's or the kernels' affair, numbers the model's.
  for (const CertificateCheck& check : certificate.checks)
    if (check.failed() && (check.non_finite || !check.compares_bits))
      return exit_status(ErrorKind::input);
  return exit_status(ErrorKind::resource);
}

}  // namespace mechsweep
