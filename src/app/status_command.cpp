#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>

#include "app/bit_exactness.h"
#include "app/certificates.h"
#include "app/commands.h"
#include "app/guarded_reading.h"
#include "app/progress.h"
#include "core/error.h"
#include "store/log_fold.h"
#include "store/log_segment.h"
#include "store/results_file.h"

namespace mechsweep {

namespace {

struct Counts {
  int64_t units = 0;
  int64_t done = 0;
  int64_t failed = 0;
  int64_t skipped = 0;
  double done_flops = 0.0;
  double total_flops = 0.0;
  double seconds = 0.0;
  std::map<uint32_t, int64_t> by_rank;  ///< units of the latest attempt
  int64_t first_s = 0, last_s = 0;      ///< of the latest attempt, Unix seconds
  double attempt_flops = 0.0;
  uint32_t attempt = 0;
  int64_t waiting = 0;  ///< of all these, units that are in the log only

  [[nodiscard]] int64_t left() const { return units - done - failed - skipped; }
};

Counts count(const ResultsReader& reader, const std::string& file) {
  Counts counts;
  auto journal = reader.journal();
  counts.waiting = overlay_log(file, reader.layout(), journal);
  const auto& units = reader.layout().units;
  for (const JournalEntry& entry : journal)
    counts.attempt = std::max(counts.attempt, entry.attempt);
  for (size_t i = 0; i < journal.size(); ++i) {
    const JournalEntry& entry = journal[i];
    ++counts.units;
    counts.total_flops += units[i].flops;
    if (entry.state == UnitState::empty) continue;
    if (entry.state == UnitState::skipped) {
      ++counts.skipped;
    } else if (entry.state != UnitState::done) {
      ++counts.failed;
      continue;
    } else {
      ++counts.done;
    }
    counts.done_flops += units[i].flops;
    counts.seconds += entry.seconds;
    if (entry.attempt != counts.attempt) continue;
    ++counts.by_rank[entry.rank];
    const auto begin = entry.finished_unix_s - static_cast<int64_t>(entry.seconds);
    counts.first_s = counts.first_s == 0 ? begin : std::min(counts.first_s, begin);
    counts.last_s = std::max(counts.last_s, entry.finished_unix_s);
    counts.attempt_flops += units[i].flops;
  }
  return counts;
}

/// Units that the latest attempt finished per second; negative: not known.
double rate(const Counts& counts) {
  const auto elapsed = static_cast<double>(counts.last_s - counts.first_s);
  if (elapsed <= 0.0) return -1.0;
  int64_t units = 0;
  for (const auto& [rank, finished] : counts.by_rank) units += finished;
  return static_cast<double>(units) / elapsed;
}

/// Seconds until done at the rate of the latest attempt; negative: not known.
double eta_s(const Counts& counts) {
  const auto elapsed = static_cast<double>(counts.last_s - counts.first_s);
  if (counts.attempt_flops <= 0.0 || elapsed <= 0.0) return -1.0;
  return (counts.total_flops - counts.done_flops) * elapsed / counts.attempt_flops;
}

void print_json(const std::string& file, const Counts& counts,
                const std::optional<BitExactness>& exactness,
                const std::vector<ModelCertificate>& certificates) {
  Json json = {
      {"file", file},
      {"units", counts.units},
      {"done", counts.done},
      {"failed", counts.failed},
      {"skipped", counts.skipped},
      {"left", counts.left()},
      {"waiting_in_log", counts.waiting},
      {"share_of_work", counts.total_flops > 0 ? counts.done_flops / counts.total_flops : 1.0},
      {"compute_seconds", counts.seconds},
      {"latest_attempt", counts.attempt}};
  for (const auto& [rank, done] : counts.by_rank) json["by_rank"][std::to_string(rank)] = done;
  if (rate(counts) >= 0.0) json["units_per_second"] = rate(counts);
  if (counts.left() > 0 && eta_s(counts) >= 0.0) json["eta_s"] = eta_s(counts);
  if (exactness) {
    json["bit_exact"] = exactness->exact;
    if (!exactness->exact) {
      json["tolerance_nats"] = exactness->tolerance_nats;
      json["bit_exact_why_not"] = exactness->why;
    }
  }
  for (const ModelCertificate& certificate : certificates) {
    Json& model = json["certificates"][certificate.model];
    model = {{"passed", certificate.passed}, {"reference", certificate.reference}};
    if (!certificate.note.empty()) model["reference_note"] = certificate.note;
    if (!certificate.passed) model["why"] = certificate.why;
  }
  std::printf("%s\n", json.dump(2, ' ', false, Json::error_handler_t::replace).c_str());
}

void print_text(const std::string& file, const Counts& counts,
                const std::optional<BitExactness>& exactness,
                const std::vector<ModelCertificate>& certificates) {
  std::printf("%s\n", file.c_str());
  std::printf("units     %lld: %lld done, %lld left, %lld failed, %lld skipped\n",
              static_cast<long long>(counts.units), static_cast<long long>(counts.done),
              static_cast<long long>(counts.left()), static_cast<long long>(counts.failed),
              static_cast<long long>(counts.skipped));
  if (counts.waiting > 0)
    std::printf(
        "waiting   %lld of these are in %s only; the next run, or mechsweep merge %s, puts "
        "them into the file\n",
        static_cast<long long>(counts.waiting), log_folder(file).c_str(), file.c_str());
  const double share =
      counts.total_flops > 0.0 ? 100.0 * counts.done_flops / counts.total_flops : 100.0;
  std::printf("work      %.1f%% in %s of computing\n", share,
              duration_text(counts.seconds).c_str());
  if (rate(counts) >= 0.0) std::printf("rate      %.3g units/s\n", rate(counts));
  if (counts.left() > 0 && eta_s(counts) >= 0.0)
    std::printf("ETA       %s at the latest attempt's rate\n",
                duration_text(eta_s(counts)).c_str());
  if (exactness) std::printf("bit-exact %s\n", exactness->text().c_str());
  for (const ModelCertificate& certificate : certificates)
    std::printf("certified %s: %s\n", certificate.model.c_str(), certificate.text().c_str());
  if (counts.by_rank.empty()) return;
  std::printf("attempt   %u, units by rank:", counts.attempt);
  for (const auto& [rank, done] : counts.by_rank)
    std::printf(" %u:%lld", rank, static_cast<long long>(done));
  std::printf("\n");
}

int print_status(const std::string& file, bool json) {
  const ResultsReader reader(file);
  const Counts counts = count(reader, file);
  const auto attempts = reader.attempts();
  const auto exactness = bit_exactness(attempts);
  const auto certificates = model_certificates(attempts);
  if (json) {
    print_json(file, counts, exactness, certificates);
  } else {
    print_text(file, counts, exactness, certificates);
  }
  if (counts.left() > 0 || counts.waiting > 0) return exit_status(ErrorKind::interrupted);
  return counts.failed > 0 ? kExitUnitsFailed : kExitDone;
}

}  // namespace

int status_command(const std::string& file, bool json) {
  return reading_results(file, [&] { return print_status(file, json); });
}

}  // namespace mechsweep
