// References of other programs: a model against tests/golden's, and against it with a number
// changed. certificate_hostile_test.cpp has files that are no references.

#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/certificate.h"
#include "engine_support.h"

namespace mechsweep {
namespace {

using namespace test_engine;
using ::testing::HasSubstr;

constexpr const char* kReference = "references/llama-random.json";

Checkpoint open_model_of_reference() {
  return open_checkpoint(golden_path("checkpoints/llama-random"));
}

/// The golden reference, changed.
Reference reference_with(const std::function<void(Json&)>& change) {
  Json json = read_golden(kReference);
  change(json);
  return parse_reference(json.dump(), "r.json", open_model_of_reference().config);
}

CertificateCheck check_against(const Reference& reference,
                               ComputeType type = ComputeType::float32) {
  const Checkpoint checkpoint = open_model_of_reference();
  LoadedModel model(checkpoint, 1, KernelSet::native, type);
  const auto wavefront = model.wavefront();
  const auto naive = model.naive();
  Certificate certificate = certify(
      checkpoint, *wavefront, *naive,
      {.dtype = std::string(compute_type_name(type)), .thorough = false, .reference = &reference});
  EXPECT_THAT(certificate.reference, HasSubstr("transformers"));
  EXPECT_EQ(certificate.checks.back().name, "reference");
  return certificate.checks.back();
}

TEST(CertificateReference, TheModelGivesTheReferencesNumbersInEveryType) {
  const Reference reference = reference_with([](Json&) {});
  for (const ComputeType type :
       {ComputeType::float32, ComputeType::bfloat16, ComputeType::float16}) {
    const CertificateCheck check = check_against(reference, type);
    EXPECT_EQ(check.outcome, CheckOutcome::passed) << check.detail;
    EXPECT_GT(check.worst, 0.0);
  }
}

TEST(CertificateReference, ANumberThatIsAnotherFails) {
  const std::vector<std::function<void(Json&)>> changes = {
      [](Json& r) { r["prompts"][1]["loss"][3] = r["prompts"][1]["loss"][3].get<double>() + 2e-4; },
      [](Json& r) {
        r["prompts"][0]["logsumexp"][7] = r["prompts"][0]["logsumexp"][7].get<double>() - 2e-4;
      },
      [](Json& r) { r["prompts"][2]["logits"][5][3] = 0.5; },
      [](Json& r) { r["prompts"][2]["top"][0]["logits"][0] = 100.0; },
      [](Json& r) { std::swap(r["prompts"][0]["top"][2], r["prompts"][0]["top"][3]); },
      [](Json& r) { r["heads"][4]["delta_loss"][0] = 0.25; },
      [](Json& r) { std::swap(r["heads"][0]["head"], r["heads"][1]["head"]); },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    const CertificateCheck check = check_against(reference_with(changes[i]));
    EXPECT_EQ(check.outcome, CheckOutcome::failed) << i << ": " << check.detail;
    EXPECT_GT(check.worst, check.bound) << i;
  }
}

TEST(CertificateReference, WhereTheReferenceItselfIsUnsteadyItsOwnRoundingIsTheMeasure) {
  for (const auto& [shift, outcome] :
       {std::pair(1e-3, CheckOutcome::passed), std::pair(3e-3, CheckOutcome::failed)}) {
    const Reference reference = reference_with([by = shift](Json& r) {
      r["spread"]["float32"]["loss"] = 1e-3;
      r["prompts"][0]["loss"][2] = r["prompts"][0]["loss"][2].get<double>() + by;
    });
    EXPECT_EQ(check_against(reference).outcome, outcome) << shift;
  }
}

TEST(CertificateReference, WithoutASpreadNarrowTypesAreMeasuredAndNotJudged) {
  const Reference reference = reference_with([](Json& r) { r.erase("spread"); });
  const CertificateCheck check = check_against(reference, ComputeType::bfloat16);
  EXPECT_EQ(check.outcome, CheckOutcome::skipped);
  EXPECT_THAT(check.detail, HasSubstr("does not say how far bfloat16 may be off"));
}

TEST(CertificateReference, FilesOfAnotherModelAreRefused) {
  Reference reference = reference_with([](Json&) {});
  std::vector<ReferenceFile> files = reference.files;
  files.push_back({"tokenizer.json", "of no importance"});
  EXPECT_NO_THROW(check_reference_files(reference, files));
  files[0].name = "renamed.safetensors";
  EXPECT_NO_THROW(check_reference_files(reference, files));
  files[0].sha256 = std::string(64, '0');
  EXPECT_THROW(check_reference_files(reference, files), Error);
  files[0].name = reference.files[0].name;
  try {
    check_reference_files(reference, files);
    FAIL() << "another hash was taken";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::input);
    EXPECT_THAT(error.what(), HasSubstr(files[0].name));
  }
}

}  // namespace
}  // namespace mechsweep
