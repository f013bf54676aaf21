#include "app/certificates.h"

#include <algorithm>
#include <map>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "app/attempt_facts.h"

namespace mechsweep {

namespace {

/// Room for all models' certificates in an attempt's record, which holds other facts as well.
constexpr size_t kRecordRoom = 2000;

/// The models of one rank, the one to stay loaded last. The dispatcher deals models out in order:
/// the first ranks begin with the first ones.
std::vector<int> models_of_rank(const std::vector<int>& models, int rank, int ranks) {
  const auto count = std::ssize(models);
  if (ranks >= count) return {models[rank * count / ranks]};
  const Range part = even_part(count, ranks, rank);
  std::vector<int> mine(models.begin() + part.begin, models.begin() + part.end);
  std::reverse(mine.begin(), mine.end());
  return mine;
}

/// The references of some models, read and found to be theirs.
std::map<int, Reference> read_references(const Plan& plan, const std::vector<int>& models) {
  std::map<int, Reference> references;
  for (const int index : models) {
    const PlannedModel& model = plan.models[index];
    if (model.entry->reference.empty()) continue;
    try {
      references.emplace(
          index, reference_of(model.entry->reference, model.checkpoint.config, model.files));
    } catch (const Error& error) {
      throw error.within(fmt::format("{}: model '{}'", plan.sweep.path, model.entry->id));
    }
  }
  return references;
}

void refuse_mismatch(const Plan& plan, const PlannedModel& model, const Certificate& certificate) {
  const CertificateCheck* check = certificate.mismatch();
  if (check == nullptr) return;
  fail(ErrorKind::input,
       "{}: model '{}' does not compute what it should: check '{}' has {} ({}); `mechsweep inspect "
       "--certify{} --dtype {} --kernels {} {}` says more",
       plan.sweep.path, model.entry->id, check->name, check->numbers(), check->detail,
       model.entry->reference.empty() ? "" : " --reference " + model.entry->reference,
       certificate.dtype, certificate.kernels, model.checkpoint.path);
}

bool has_failed(const Json& certificate) {
  return fact(certificate, "outcome") != Json("passed");
}

/// Joins what ranks say of the same models: failures before successes, then the lowest rank.
Json worst_of_ranks(const std::vector<std::string>& texts) {
  Json worst = Json::object();
  for (size_t rank = 0; rank < texts.size(); ++rank) {
    const Json mine = Json::parse(texts[rank]);
    for (const auto& [model, certificate] : mine.items()) {
      const bool failed = has_failed(certificate);
      if (failed)
        spdlog::warn("rank {}: the certificate of model '{}' failed: {}", rank, model,
                     certificate.at("why").get<std::string>());
      if (worst.contains(model) && (!failed || has_failed(worst[model]))) continue;
      worst[model] = certificate;
      if (failed && rank > 0) worst[model]["rank"] = rank;
    }
  }
  if (worst.dump().size() > kRecordRoom)
    for (auto& certificate : worst)
      for (const char* name : {"measured", "seconds", "dtype"}) certificate.erase(name);
  return worst;
}

}  // namespace

Reference reference_of(const std::string& path, const ModelConfig& config,
                       const std::vector<FileHash>& model) {
  std::vector<ReferenceFile> files;
  for (const FileHash& file : model) files.push_back({file.name, file.sha256});
  Reference reference = read_reference(path, config);
  check_reference_files(reference, files);
  return reference;
}

Json certify_together(World& world, const Plan& plan, ModelHost& host,
                      const std::vector<int>& models) {
  if (models.empty()) return Json::object();
  const std::vector<int> mine = models_of_rank(models, world.rank(), world.size());
  std::map<int, Reference> references;
  world.together([&] { references = read_references(plan, mine); });
  Json found = Json::object();
  world.together(
      [&] {
        for (const int index : mine) {
          const auto reference = references.find(index);
          const Certificate certificate =
              host.certify(index, reference == references.end() ? nullptr : &reference->second);
          refuse_mismatch(plan, plan.models[index], certificate);
          found[plan.models[index].entry->id] = certificate.to_record();
        }
      },
      Waiting::loading);
  return worst_of_ranks(world.gather(found.dump()));
}

std::string ModelCertificate::text() const {
  if (!passed) return "FAILED: " + why;
  if (reference != "none") return "passed, reference " + reference;
  return "passed, no reference" + (note.empty() ? "" : " (" + note + ")");
}

std::vector<ModelCertificate> model_certificates(const std::vector<AttemptRecord>& attempts) {
  std::map<std::string, ModelCertificate> by_model;
  for (const AttemptRecord& attempt : attempts) {
    const Json certificates = fact(attempt.facts, "certificates");
    if (!certificates.is_object()) continue;
    for (const auto& [id, certificate] : certificates.items()) {
      const Json outcome = fact(certificate, "outcome");
      const Json reference = fact(certificate, "reference");
      const Json why = fact(certificate, "why");
      if (outcome != Json("passed") && outcome != Json("failed")) continue;
      ModelCertificate& model =
          by_model.try_emplace(id, ModelCertificate{.model = id}).first->second;
      if (reference.is_string()) model.reference = reference.get<std::string>();
      const Json note = fact(certificate, "reference_note");
      model.note = note.is_string() ? note.get<std::string>() : "";
      if (outcome == Json("passed") || !model.passed) continue;
      model.passed = false;
      model.why = why.is_string() ? why.get<std::string>() : "no reason is on record";
    }
  }
  std::vector<ModelCertificate> all;
  for (auto& [id, model] : by_model) all.push_back(std::move(model));
  return all;
}

}  // namespace mechsweep
