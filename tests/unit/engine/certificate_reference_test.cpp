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
using ::testing::Not;

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

Certificate certify_against(const Reference& reference, ComputeType type = ComputeType::float32) {
  const Checkpoint checkpoint = open_model_of_reference();
  LoadedModel model(checkpoint, 1, KernelSet::native, type);
  const auto wavefront = model.wavefront();
  const auto naive = model.naive();
  return certify(
      checkpoint, *wavefront, *naive,
      {.dtype = std::string(compute_type_name(type)), .thorough = false, .reference = &reference});
}

CertificateCheck check_against(const Reference& reference,
                               ComputeType type = ComputeType::float32) {
  const Certificate certificate = certify_against(reference, type);
  EXPECT_EQ(certificate.checks.back().name, "reference");
  const bool skipped = certificate.checks.back().outcome == CheckOutcome::skipped;
  EXPECT_THAT(certificate.reference, HasSubstr(skipped ? "none" : "transformers"));
  EXPECT_EQ(certificate.reference_note.empty(), !skipped);
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
       {std::pair(5e-4, CheckOutcome::passed), std::pair(1e-3, CheckOutcome::failed)}) {
    const Reference reference = reference_with([by = shift](Json& r) {
      r["spread"]["float32"]["loss"] = 2e-4;
      r["prompts"][0]["loss"][2] = r["prompts"][0]["loss"][2].get<double>() + by;
    });
    EXPECT_EQ(check_against(reference).outcome, outcome) << shift;
  }
}

TEST(CertificateReference, OneThatIsTooUnsteadyProvesNothing) {
  const Reference loose = reference_with([](Json& r) { r["spread"]["float32"]["loss"] = 1e9; });
  EXPECT_EQ(check_against(loose).outcome, CheckOutcome::skipped);
  const Reference narrow = reference_with([](Json& r) { r["spread"]["bfloat16"]["logits"] = 0.5; });
  EXPECT_EQ(check_against(narrow, ComputeType::bfloat16).outcome, CheckOutcome::skipped);
}

TEST(CertificateReference, WhatItsPromptsAreTooShortForIsSaid) {
  const Reference reference = reference_with([](Json&) {});
  Checkpoint checkpoint = open_model_of_reference();
  LoadedModel model(checkpoint, 1, KernelSet::native, ComputeType::float32);
  const auto wavefront = model.wavefront();
  const auto naive = model.naive();
  const auto named = [&] {
    return certify(checkpoint, *wavefront, *naive, {.thorough = false, .reference = &reference})
        .reference;
  };
  EXPECT_THAT(named(), Not(HasSubstr("too short")));
  // The longest of its prompts has 20 tokens.
  checkpoint.config.layer_kinds.assign(3, {.window = 40});
  EXPECT_THAT(named(), HasSubstr("too short to show its windows of 40 tokens"));
  checkpoint.config.layer_kinds.assign(3, {.window = 19});
  EXPECT_THAT(named(), Not(HasSubstr("too short")));
  checkpoint.config.rope.scaling = RopeScaling::dynamic;
  checkpoint.config.rope.original_positions = 32;
  EXPECT_THAT(named(), HasSubstr("how it turns prompts beyond 32 tokens"));
}

TEST(CertificateReference, WithoutASpreadNarrowTypesAreMeasuredAndNotJudged) {
  const Reference reference = reference_with([](Json& r) { r.erase("spread"); });
  const CertificateCheck check = check_against(reference, ComputeType::bfloat16);
  EXPECT_EQ(check.outcome, CheckOutcome::skipped);
  EXPECT_THAT(check.detail, HasSubstr("how far bfloat16 may be off"));
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
