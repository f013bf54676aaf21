#include "experiments/stored_readings.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "experiments/readouts.h"

namespace mechsweep {

double StoredReadings::margin(int64_t i) const {
  const double* logits = logit->values.data() + i * tracked;
  double best_wrong = std::numeric_limits<double>::quiet_NaN();
  for (int64_t t = 1; t < tracked; ++t)
    if (std::isnan(best_wrong) || logits[t] > best_wrong) best_wrong = logits[t];
  return logits[0] - best_wrong;
}

double StoredReadings::loss_among_tracked(int64_t i) const {
  const double* logits = logit->values.data() + i * tracked;
  double sum = 0.0;
  for (int64_t t = 0; t < tracked; ++t)
    if (!std::isnan(logits[t])) sum += std::exp(logits[t] - logits[0]);
  return std::log(sum);
}

const StoredArray& stored_array(const StoredRun& run, const std::string& name) {
  const StoredArray* array = run.find(name);
  if (array == nullptr)
    fail(ErrorKind::input, "run '{}' has no dataset '{}': the file is damaged", run.id, name);
  return *array;
}

StoredReadings stored_readings(const StoredRun& run, const std::string& prefix) {
  StoredReadings readings;
  readings.loss = &stored_array(run, prefix + "loss");
  readings.logit = &stored_array(run, prefix + "logit");
  readings.top1 = &stored_array(run, prefix + "top1");
  readings.answer_rank = run.find(prefix + "answer_rank");
  readings.kl_base = run.find(prefix + "kl_base");
  readings.kl_donor = run.find(prefix + "kl_donor");
  if (readings.loss->axes.empty() || readings.logit->axes.empty())
    fail(ErrorKind::input, "run '{}': a dataset has no axes: the file is damaged", run.id);
  readings.axes.assign(readings.loss->axes.begin() + 1, readings.loss->axes.end());
  readings.tracked = readings.logit->axes.back().size;
  readings.cells = 1;
  for (const Axis& axis : readings.axes) readings.cells *= axis.size;
  const size_t places = run.templates.size() * readings.cells;
  const auto fits = [places](const StoredArray* array) {
    return array == nullptr || array->values.size() == places;
  };
  if (!fits(readings.loss) || !fits(readings.top1) || !fits(readings.answer_rank) ||
      !fits(readings.kl_base) || !fits(readings.kl_donor) ||
      readings.logit->values.size() != places * readings.tracked)
    fail(ErrorKind::input,
         "run '{}': the sizes of its '{}' datasets do not go together: the file is "
         "damaged",
         run.id, prefix + "loss");
  return readings;
}

void check_same_shape(const StoredRun& run, const StoredReadings& base,
                      const StoredReadings& other) {
  if (base.cells == 0 || other.cells % base.cells != 0 || base.tracked != other.tracked)
    fail(ErrorKind::input,
         "run '{}': base run and other runs have different targets: the file is "
         "damaged",
         run.id);
}

Applicability::Applicability(const StoredRun& run, const StoredReadings& base)
    : run_(run),
      tokens_(run.find("base/tracked_token")),
      targets_(base.cells),
      tracked_(base.tracked) {
  if (tokens_ != nullptr && tokens_->values.size() != run.templates.size() * targets_ * tracked_)
    fail(ErrorKind::input,
         "run '{}': tracked tokens and logits differ in number: the file is "
         "damaged",
         run.id);
}

bool Applicability::applies(const StoredReadings& readings, int64_t prompt, int64_t cell,
                            int64_t token) const {
  if (tokens_ == nullptr) return false;
  const int64_t target = prompt * targets_ + cell % targets_;
  return tokens_->values[target * tracked_ + token] >= 0.0 && in_prompt(readings, prompt, cell) &&
         !left_out(readings, prompt, cell);
}

bool Applicability::broken_loss(const StoredReadings& readings, int64_t prompt,
                                int64_t cell) const {
  return !std::isfinite(readings.loss->values[prompt * readings.cells + cell]) &&
         applies(readings, prompt, cell);
}

bool Applicability::broken_logit(const StoredReadings& readings, int64_t prompt, int64_t cell,
                                 int64_t token) const {
  const int64_t i = prompt * readings.cells + cell;
  return !std::isfinite(readings.logit->values[i * readings.tracked + token]) &&
         applies(readings, prompt, cell, token);
}

bool Applicability::broken_margin(const StoredReadings& readings, int64_t prompt,
                                  int64_t cell) const {
  if (tracked_ < 2 || !applies(readings, prompt, cell, 1)) return false;
  for (int64_t token = 0; token < tracked_; ++token)
    if (broken_logit(readings, prompt, cell, token)) return true;
  return false;
}

bool Applicability::in_prompt(const StoredReadings& readings, int64_t prompt, int64_t cell) const {
  if (run_.prompt_lengths.size() != run_.templates.size()) return true;
  int64_t rest = cell;
  for (auto axis = readings.axes.rbegin(); axis != readings.axes.rend(); ++axis) {
    const int64_t place = rest % axis->size;
    rest /= axis->size;
    if (axis->name != "position") continue;
    const int64_t position = axis->coordinates.empty() ? place : axis->coordinates[place];
    if (position >= run_.prompt_lengths[prompt]) return false;
  }
  return true;
}

bool Applicability::left_out(const StoredReadings& readings, int64_t prompt, int64_t cell) const {
  // Base and donor readings have no axis that units are cut along.
  if (readings.axes.empty() || readings.axes.front().name == kTargetAxis) return false;
  const int64_t first = cell / (readings.cells / readings.axes.front().size);
  return std::any_of(run_.left_out.begin(), run_.left_out.end(), [&](const LeftOutUnit& unit) {
    return prompt >= unit.prompts.begin && prompt < unit.prompts.end && first >= unit.first.begin &&
           first < unit.first.end;
  });
}

}  // namespace mechsweep
