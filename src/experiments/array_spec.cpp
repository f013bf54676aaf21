#include "experiments/array_spec.h"

#include <algorithm>

#include "core/error.h"

namespace mechsweep {

int64_t element_size(ElementType type) {
  switch (type) {
    case ElementType::f64:
      return 8;
    case ElementType::f32:
      return 4;
    case ElementType::i32:
      return 4;
    case ElementType::u8:
      return 1;
  }
  ensure(false, "unknown element type");
  return 0;
}

std::string_view element_type_name(ElementType type) {
  switch (type) {
    case ElementType::f64:
      return "float64";
    case ElementType::f32:
      return "float32";
    case ElementType::i32:
      return "int32";
    case ElementType::u8:
      return "uint8";
  }
  return "unknown";
}

int64_t ArraySpec::row_size() const {
  int64_t size = 1;
  for (size_t i = 1; i < axes.size(); ++i) size *= axes[i].size;
  return size;
}

int64_t ArraySpec::size() const {
  return axes.empty() ? 0 : axes[0].size * row_size();
}

const StoredArray* StoredRun::find(const std::string& name) const {
  const auto found = std::find_if(arrays.begin(), arrays.end(),
                                  [&](const StoredArray& array) { return array.name == name; });
  return found == arrays.end() ? nullptr : &*found;
}

}  // namespace mechsweep
