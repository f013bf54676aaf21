#include "experiments/readouts.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "core/hash.h"

namespace mechsweep {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
constexpr float kFloatNaN = std::numeric_limits<float>::quiet_NaN();
/// loss, logit, logit_mean, logsumexp, top1
constexpr int kAlways = 5;
constexpr int kLargestTopK = 10'000;
const std::vector<std::string> kNames = {"answer_rank", "kl"};

}  // namespace

Json Readouts::to_json() const {
  Json names = Json::array();
  if (answer_rank) names.push_back("answer_rank");
  if (kl) names.push_back("kl");
  return {{"readouts", names}, {"top_k", top_k}};
}

void Readouts::check(const ModelConfig& model) const {
  if (top_k > model.vocab_size)
    fail(ErrorKind::usage, "`top_k` is {}, but the model's vocabulary has {} tokens", top_k,
         model.vocab_size);
}

Readouts parse_readouts(MapReader& reader) {
  Readouts readouts;
  if (const ConfigNode* node = reader.get("readouts")) {
    const std::vector<ConfigNode> alone = {*node};
    const auto& items = node->kind == ConfigNode::Kind::list ? node->items : alone;
    for (const ConfigNode& item : items) {
      if (item.kind == ConfigNode::Kind::scalar && item.scalar == "top_k") {
        reader.problems().add(item, "is a key of its own beside `readouts`, such as top_k: 5");
        continue;
      }
      const auto name = node_choice(item, reader.problems(), kNames);
      if (!name) continue;
      bool& chosen = *name == "kl" ? readouts.kl : readouts.answer_rank;
      if (chosen) reader.problems().add(item, fmt::format("names '{}' twice", *name));
      chosen = true;
    }
  }
  readouts.top_k = static_cast<int32_t>(reader.integer_or("top_k", 0, 1, kLargestTopK));
  return readouts;
}

int ReadingShape::arrays() const {
  return kAlways + (answer_rank ? 1 : 0) + static_cast<int>(kl.size()) + (top_k > 0 ? 2 : 0);
}

std::vector<ArraySpec> reading_arrays(const ReadingShape& shape, const std::string& prefix,
                                      const std::vector<Axis>& axes, int stage, bool split) {
  std::vector<Axis> per_target = axes;
  // A single target a prompt needs no axis of its own.
  if (shape.targets > 1) per_target.push_back({.name = kTargetAxis, .size = shape.targets});
  const auto with = [&](const char* name, int64_t size) {
    std::vector<Axis> longer = per_target;
    longer.push_back({.name = name, .size = size});
    return longer;
  };
  std::vector<ArraySpec> all;
  const auto add = [&](const std::string& name, ElementType type, std::vector<Axis> own_axes,
                       const char* units, const char* long_name) {
    all.push_back({.name = prefix + name,
                   .type = type,
                   .axes = std::move(own_axes),
                   .stage = stage,
                   .split_by_first = split,
                   .attributes = {{"units", units}, {"long_name", long_name}}});
  };
  add("loss", ElementType::f64, per_target, "nats", "-log softmax(logits)[answer]");
  add("logit", ElementType::f32, with("tracked", shape.tracked), "1",
      "raw logits of the tracked tokens, the answer first, then the wrong ones");
  add("logit_mean", ElementType::f64, per_target, "1", "mean logit over the whole vocabulary");
  add("logsumexp", ElementType::f64, per_target, "nats",
      "log of the sum of exp(logit) over the whole vocabulary");
  add("top1", ElementType::i32, per_target, "token id", "token with the largest logit");
  if (shape.answer_rank)
    add("answer_rank", ElementType::i32, per_target, "1",
        "number of tokens with a larger logit than the answer");
  for (const std::string& name : shape.kl)
    add(name, ElementType::f64, per_target, "nats",
        name == "kl_donor" ? "KL(donor || edited) over the whole vocabulary"
                           : "KL(base || edited) over the whole vocabulary");
  if (shape.top_k > 0) {
    add("top_token", ElementType::i32, with("top", shape.top_k), "token id",
        "tokens with the largest logits, the largest first");
    add("top_logit", ElementType::f32, with("top", shape.top_k), "1", "their logits");
  }
  return all;
}

ReadingBlocks::ReadingBlocks(const ReadingShape& shape, int first_array, int64_t places)
    : shape_(shape),
      first_array_(first_array),
      loss_(places * shape.targets, kNaN),
      logit_(places * shape.targets * shape.tracked, kFloatNaN),
      mean_(loss_),
      logsumexp_(loss_),
      top1_(loss_.size(), -1),
      answer_rank_(shape.answer_rank ? loss_.size() : 0, -1),
      kl_(shape.kl.size(), loss_),
      top_token_(loss_.size() * shape.top_k, -1),
      top_logit_(loss_.size() * shape.top_k, kFloatNaN) {}

template <typename T>
T ReadingBlocks::counted(T value) {
  if (!std::isfinite(value)) ++non_finite_;
  return value;
}

void ReadingBlocks::put(int64_t place, std::span<const Reading> readings) {
  for (size_t t = 0; t < readings.size(); ++t)
    put_one(place * shape_.targets + static_cast<int64_t>(t), readings[t]);
}

void ReadingBlocks::put_one(int64_t at, const Reading& reading) {
  loss_[at] = counted(reading.loss());
  mean_[at] = counted(reading.logit_mean);
  logsumexp_[at] = counted(reading.logsumexp);
  top1_[at] = reading.top1;
  for (size_t t = 0; t < reading.tracked_logits.size(); ++t)
    logit_[at * shape_.tracked + static_cast<int64_t>(t)] = counted(reading.tracked_logits[t]);
  if (shape_.answer_rank) answer_rank_[at] = reading.answer_rank;
  for (size_t i = 0; i < kl_.size(); ++i) kl_[i][at] = counted(reading.kl.at(i));
  for (size_t i = 0; i < reading.top.size() && i < static_cast<size_t>(shape_.top_k); ++i) {
    top_token_[at * shape_.top_k + static_cast<int64_t>(i)] = reading.top[i].first;
    top_logit_[at * shape_.top_k + static_cast<int64_t>(i)] = counted(reading.top[i].second);
  }
}

void ReadingBlocks::append_to(UnitResult& result) const {
  int array = first_array_;
  const auto add = [&]<typename T>(const std::vector<T>& values) {
    const auto bytes = bytes_of(std::span<const T>(values));
    result.blocks.push_back({array++, {bytes.begin(), bytes.end()}});
  };
  add(loss_);
  add(logit_);
  add(mean_);
  add(logsumexp_);
  add(top1_);
  if (shape_.answer_rank) add(answer_rank_);
  for (const auto& values : kl_) add(values);
  if (shape_.top_k > 0) {
    add(top_token_);
    add(top_logit_);
  }
  result.non_finite += non_finite_;
}

}  // namespace mechsweep
