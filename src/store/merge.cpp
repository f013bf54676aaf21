#include "store/merge.h"

#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "core/hash.h"
#include "store/log_fold.h"
#include "store/log_segment.h"
#include "store/merge_inputs.h"
#include "store/posix_file.h"

namespace mechsweep {
namespace {

constexpr int kFromOut = -1;

/// The entry of a unit that counts so far, and where it comes from.
struct Best {
  JournalEntry entry;
  int input = kFromOut;
};

std::string name_unit(const FileLayout& layout, size_t unit) {
  return fmt::format("unit {} ({})", unit, to_hex(layout.units[unit].id).substr(0, 12));
}

class Merge {
 public:
  Merge(std::string out, const std::vector<std::string>& inputs, const AttemptsCheck& check)
      : out_(std::move(out)), inputs_(inputs), check_(check) {}

  MergeReport run() {
    const MergeLocks locks(out_, inputs_);
    read_inputs();
    read_out();
    write();
    count();
    return std::move(report_);
  }

 private:
  void read_inputs() {
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const MergeInput input(inputs_[i]);
      if (i == 0) {
        layout_ = input.layout();
        best_.resize(layout_->units.size());
      }
      check_same_sweep(inputs_.front(), *layout_, inputs_[i], input.layout());
      take(input, inputs_[i], static_cast<int>(i));
      attempts_.push_back(input.reader().attempts());
      show(inputs_[i], attempts_.back(), input.journal());
    }
  }

  void show(const std::string& file, const std::vector<AttemptRecord>& attempts,
            const std::vector<JournalEntry>& journal) {
    std::set<int64_t> counted;
    for (const JournalEntry& entry : journal) {
      if (entry.state == UnitState::done) counted.insert(entry.attempt);
    }
    if (check_) check_(file, attempts, counted);
  }

  /// What is there already wins among equals.
  void read_out() {
    if (!std::filesystem::exists(out_)) {
      if (!layout_) fail(ErrorKind::input, "{} is not there; name the files to merge", out_);
      return;
    }
    if (layout_) {  // before anything is written
      const ResultsReader reader(out_);
      check_same_sweep(inputs_.front(), *layout_, out_, reader.layout());
    }
    const FoldReport fold = fold_log(out_);
    report_.folded = fold.units;
    for (const std::string& segment : fold.foreign) {
      report_.notes.push_back(segment + " holds units of another sweep and was left alone");
    }
    const MergeInput input(out_);
    if (!layout_) {
      layout_ = input.layout();
      best_.resize(layout_->units.size());
    }
    take(input, out_, kFromOut);
    out_attempts_ = input.reader().attempts();
    show(out_, out_attempts_, input.journal());
    has_out_ = true;
  }

  /// Compares a file's entries with the best so far.
  void take(const MergeInput& input, const std::string& file, int number) {
    for (size_t unit = 0; unit < best_.size(); ++unit) {
      const JournalEntry& entry = input.journal()[unit];
      Best& best = best_[unit];
      const bool both_done = entry.state == UnitState::done && best.entry.state == UnitState::done;
      if (both_done && (entry.payload_crc != best.entry.payload_crc ||
                        entry.payload_bytes != best.entry.payload_bytes)) {
        fail(
            ErrorKind::input,
            "{} is done in {} and in {} with different numbers, so one of them was made on another "
            "kind of machine or by another version; merge only those that agree",
            name_unit(*layout_, unit), inputs_[static_cast<size_t>(best.input)], file);
      }
      const int mine = merge_precedence(entry.state);
      const int other = merge_precedence(best.entry.state);
      // The count of crashes decides over a unit's quarantine, so the higher one stays.
      const uint32_t crashes = both_done ? 0 : entry.crashes;
      const uint32_t other_crashes = both_done ? 0 : best.entry.crashes;
      const bool is_equal = mine == other && crashes == other_crashes;
      const bool is_better = mine > other || (mine == other && crashes > other_crashes);
      if (is_better || (is_equal && number == kFromOut)) best = {entry, number};
    }
    for (const std::string& note : input.notes()) report_.notes.push_back(note);
  }

  void write() {
    if (inputs_.empty()) return;
    if (!has_out_) {
      remove_log(out_);
      create_file_alone(out_, *layout_);
    }
    ResultsWriter writer(out_, *layout_);
    AttemptTable table(out_attempts_, [&](int slot, const AttemptRecord& record) {
      writer.write_attempt(slot, record);
    });
    for (size_t i = 0; i < inputs_.size(); ++i) {
      const int number = static_cast<int>(i);
      const bool is_wanted = std::any_of(best_.begin(), best_.end(), [&](const Best& best) {
        return best.input == number && best.entry.state != UnitState::empty;
      });
      if (is_wanted) copy(writer, table.add(name_of(inputs_[i]), attempts_[i]), number);
    }
    if (table.left_out() > 0) {
      report_.notes.push_back(
          fmt::format("records of {} launches did not fit into {}", table.left_out(), out_));
    }
    writer.sync();
    writer.close();
  }

  /// The units of one input, under the numbers that its launches have in the file.
  void copy(ResultsWriter& writer, const std::map<int64_t, int64_t>& numbers, int number) {
    const MergeInput input(inputs_[static_cast<size_t>(number)]);
    for (size_t unit = 0; unit < best_.size(); ++unit) {
      if (best_[unit].input != number || best_[unit].entry.state == UnitState::empty) continue;
      JournalEntry entry = best_[unit].entry;
      const auto renumbered = numbers.find(entry.attempt);
      if (renumbered != numbers.end()) entry.attempt = static_cast<uint32_t>(renumbered->second);
      if (entry.state == UnitState::done) {
        const int index = static_cast<int>(unit);
        writer.write_unit(index, input.blocks(index, best_[unit].entry), entry);
      } else {
        writer.write_state(static_cast<int>(unit), entry);
      }
      ++report_.copied;
    }
  }

  void count() {
    report_.units = std::ssize(best_);
    for (const Best& best : best_) {
      switch (best.entry.state) {
        case UnitState::done:
          ++report_.done;
          break;
        case UnitState::skipped:
          ++report_.skipped;
          break;
        case UnitState::empty:
          ++report_.left;
          break;
        default:
          ++report_.failed;
      }
    }
  }

  std::string out_;
  const std::vector<std::string>& inputs_;
  const AttemptsCheck& check_;
  std::optional<FileLayout> layout_;
  std::vector<Best> best_;
  std::vector<std::vector<AttemptRecord>> attempts_;
  std::vector<AttemptRecord> out_attempts_;
  bool has_out_ = false;
  MergeReport report_;
};

}  // namespace

int merge_precedence(UnitState state) {
  switch (state) {
    case UnitState::done:
      return 5;
    case UnitState::skipped:
      return 4;
    case UnitState::quarantined:
      return 3;
    case UnitState::crashed:
      return 2;
    case UnitState::failed:
      return 1;
    case UnitState::empty:
      break;
  }
  return 0;
}

MergeReport merge_results(const std::string& out, const std::vector<std::string>& inputs,
                          const AttemptsCheck& check) {
  return Merge(out, inputs, check).run();
}

}  // namespace mechsweep
