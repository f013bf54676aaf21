#include "store/layout_hash.h"

#include "core/hash.h"

namespace mechsweep {
namespace {

/// Feeds parts so that no two lists of parts give the same bytes: each with its length in front.
class PartHash {
 public:
  void add_bytes(std::span<const uint8_t> bytes) {
    add(static_cast<int64_t>(bytes.size()));
    hash_.update(bytes);
  }
  void add_text(const std::string& text) {
    add(static_cast<int64_t>(text.size()));
    hash_.update(text);
  }
  void add(int64_t number) { hash_.update(bytes_of(std::span<const int64_t>(&number, 1))); }
  void add_range(const Range& range) {
    add(range.begin);
    add(range.end);
  }
  /// Damaged text may be no UTF-8, which a plain dump refuses.
  void add_json(const Json& json) {
    add_text(json.dump(-1, ' ', false, Json::error_handler_t::replace));
  }
  std::string digest() { return hash_.hex_digest(); }

 private:
  Sha256 hash_;
};

void add_dataset(PartHash& hash, const DatasetSpec& spec) {
  hash.add_text(spec.path);
  hash.add_text(std::string(element_type_name(spec.type)));
  hash.add(spec.text_size);
  hash.add(std::ssize(spec.shape));
  for (const int64_t size : spec.shape) hash.add(size);
  hash.add(std::ssize(spec.scales));
  for (const std::string& scale : spec.scales) hash.add_text(scale);
  hash.add_json(spec.attributes);
  hash.add_bytes(spec.content);
}

void add_unit(PartHash& hash, const UnitSpec& unit) {
  hash.add_bytes(unit.id);
  hash.add(unit.run);
  hash.add(unit.stage);
  hash.add_range(unit.prompts);
  hash.add_range(unit.first);
  hash.add_bytes(bytes_of(std::span<const double>(&unit.flops, 1)));
}

}  // namespace

std::string layout_hash(const FileLayout& layout) {
  PartHash hash;
  Json root = layout.attributes;
  root.erase(kLayoutHash);
  hash.add_json(root);
  hash.add(std::ssize(layout.groups));
  for (const GroupSpec& group : layout.groups) {
    hash.add_text(group.path);
    hash.add_json(group.attributes);
  }
  hash.add(std::ssize(layout.datasets));
  for (const DatasetSpec& dataset : layout.datasets) add_dataset(hash, dataset);
  hash.add(std::ssize(layout.units));
  for (const UnitSpec& unit : layout.units) add_unit(hash, unit);
  hash.add(std::ssize(layout.targets));
  for (const TargetDataset& target : layout.targets) {
    hash.add(target.run);
    hash.add(target.stage);
    hash.add_text(layout.datasets[static_cast<size_t>(target.dataset)].path);
    hash.add(int64_t{target.split_by_first ? 1 : 0});
  }
  return hash.digest();
}

}  // namespace mechsweep
