#include "dispatch_strategies.h"

#include <algorithm>
#include <span>

#include "core/error.h"

namespace mechsweep {
namespace {

class OurStrategy final : public Strategy {
 public:
  OurStrategy(const Trace& trace, int groups, const std::vector<JournalledUnit>& done)
      : policy_(trace.units, {{}}, groups, done) {}
  std::optional<int> next(int group) override { return policy_.next(group); }
  void finished(int group, int unit, double elapsed_s) override {
    policy_.finished(group, unit, true, elapsed_s);
  }
  [[nodiscard]] int64_t changes() const override { return policy_.changes(); }

 private:
  DispatchPolicy policy_;
};

class CentralQueue final : public Strategy {
 public:
  CentralQueue(std::vector<int> order, int groups)
      : order_(std::move(order)), holds_(static_cast<size_t>(groups), 0) {}
  std::optional<int> next(int group) override {
    const size_t left = order_.size() - begin_;
    int& holds = holds_[static_cast<size_t>(group)];
    if (left == 0 || (holds > 0 && left < holds_.size())) return std::nullopt;
    ++holds;
    return order_[begin_++];
  }
  void finished(int group, int /*unit*/, double /*elapsed_s*/) override {
    --holds_[static_cast<size_t>(group)];
  }

 private:
  std::vector<int> order_;
  size_t begin_ = 0;
  std::vector<int> holds_;
};

class StaticBlocks final : public Strategy {
 public:
  StaticBlocks(const std::vector<UnitCost>& units, const std::vector<int>& order, int groups)
      : blocks_(static_cast<size_t>(groups)), begins_(static_cast<size_t>(groups), 0) {
    double total_s = 0.0, before_s = 0.0;
    for (const int unit : order) total_s += units[static_cast<size_t>(unit)].predicted_s;
    for (const int unit : order) {
      const double middle_s = before_s + 0.5 * units[static_cast<size_t>(unit)].predicted_s;
      const int group = static_cast<int>(middle_s / total_s * groups);
      blocks_[static_cast<size_t>(std::clamp(group, 0, groups - 1))].push_back(unit);
      before_s += units[static_cast<size_t>(unit)].predicted_s;
    }
  }
  std::optional<int> next(int group) override {
    const auto g = static_cast<size_t>(group);
    if (begins_[g] == blocks_[g].size()) return std::nullopt;
    return blocks_[g][begins_[g]++];
  }
  void finished(int /*group*/, int /*unit*/, double /*elapsed_s*/) override {}

 private:
  std::vector<std::vector<int>> blocks_;
  std::vector<size_t> begins_;
};

std::vector<int> plan_order(const Trace& trace, const std::vector<JournalledUnit>& done) {
  std::vector<bool> is_done(trace.units.size(), false);
  for (const JournalledUnit& entry : done) is_done[static_cast<size_t>(entry.unit)] = true;
  std::vector<int> order;
  for (int unit = 0; unit < std::ssize(trace.units); ++unit)
    if (!is_done[static_cast<size_t>(unit)]) order.push_back(unit);
  return order;
}

}  // namespace

std::unique_ptr<Strategy> make_strategy(const std::string& name, const Trace& trace, int groups,
                                        const std::vector<JournalledUnit>& done) {
  if (name == "mechsweep") return std::make_unique<OurStrategy>(trace, groups, done);
  std::vector<int> order = plan_order(trace, done);
  if (name == "blocks") return std::make_unique<StaticBlocks>(trace.units, order, groups);
  if (name == "largest") {
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      return trace.units[static_cast<size_t>(a)].predicted_s >
             trace.units[static_cast<size_t>(b)].predicted_s;
    });
  } else if (name != "queue") {
    fail(ErrorKind::usage, "--strategy: '{}' is none of mechsweep, queue, largest, blocks", name);
  }
  return std::make_unique<CentralQueue>(std::move(order), groups);
}

}  // namespace mechsweep
