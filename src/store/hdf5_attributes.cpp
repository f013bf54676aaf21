#include "store/hdf5_attributes.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "store/file_layout.h"
#include "store/hdf5_handle.h"

namespace mechsweep {
namespace {

constexpr int64_t kLongestAttributeBytes = 60000;  // HDF5 allows 64 KiB less a header
constexpr std::array<std::string_view, 4> kScaleAttributes{"CLASS", "NAME", "DIMENSION_LIST",
                                                           "REFERENCE_LIST"};

/// An attribute's value in HDF5's terms; `size` 0 is a scalar.
struct Encoded {
  Hdf5Handle type;
  int64_t size = 0;
  std::vector<uint8_t> bytes;
};

Hdf5Handle copy_type(hid_t type) {
  return own(H5Tcopy(type), H5Tclose, ErrorKind::internal, "HDF5 cannot copy a type");
}

/// The enumeration that h5py uses for bool.
Hdf5Handle make_bool_type() {
  Hdf5Handle type = own(H5Tenum_create(H5T_STD_I8LE), H5Tclose, ErrorKind::internal, "bool type");
  int8_t value = 0;
  H5Tenum_insert(type.get(), "FALSE", &value);
  value = 1;
  H5Tenum_insert(type.get(), "TRUE", &value);
  return type;
}

template <typename T>
std::vector<uint8_t> values_as_bytes(const std::vector<Json>& values) {
  std::vector<uint8_t> bytes;
  for (const Json& value : values) {
    const T plain = value.get<T>();
    const auto* begin = reinterpret_cast<const uint8_t*>(&plain);
    bytes.insert(bytes.end(), begin, begin + sizeof(T));
  }
  return bytes;
}

bool fits_int64(const Json& value) {
  return value.is_number_integer() &&
         !(value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX});
}

Encoded encode_text(const std::vector<std::string>& texts) {
  Encoded out;
  const int64_t bytes = longest_text(texts);
  out.type = Hdf5Handle(make_text_type(bytes), H5Tclose);
  out.bytes = pack_texts(texts, bytes);
  return out;
}

Encoded encode(const Json& value) {
  const bool is_list = value.is_array() && !value.empty();
  const std::vector<Json> values = is_list ? value.get<std::vector<Json>>() : std::vector{value};
  const auto all = [&](auto&& test) { return std::all_of(values.begin(), values.end(), test); };
  Encoded out;
  if (all([](const Json& v) { return v.is_string(); })) {
    std::vector<std::string> texts;
    for (const Json& text : values) texts.push_back(text.get<std::string>());
    out = encode_text(texts);
  } else if (all([](const Json& v) { return v.is_boolean(); })) {
    out.type = make_bool_type();
    out.bytes = values_as_bytes<bool>(values);
  } else if (all(fits_int64)) {
    out.type = copy_type(H5T_STD_I64LE);
    out.bytes = values_as_bytes<int64_t>(values);
  } else if (all([](const Json& v) { return v.is_number(); })) {
    out.type = copy_type(H5T_IEEE_F64LE);
    out.bytes = values_as_bytes<double>(values);
  } else {
    return encode_text({value.dump()});
  }
  out.size = is_list ? std::ssize(values) : 0;
  return out;
}

Hdf5Handle make_space(int64_t size) {
  const auto length = static_cast<hsize_t>(size);
  return own(size == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &length, nullptr), H5Sclose,
             ErrorKind::internal, "HDF5 cannot make a dataspace");
}

void write_small(hid_t object, const std::string& name, const Encoded& value,
                 const std::string& what) {
  const Hdf5Handle space = make_space(value.size);
  const Hdf5Handle attribute =
      own(H5Acreate2(object, name.c_str(), value.type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT),
          H5Aclose, ErrorKind::resource, what);
  check_hdf5(H5Awrite(attribute.get(), value.type.get(), value.bytes.data()), ErrorKind::resource,
             what);
}

void write_long(hid_t group, const std::string& name, const Encoded& value,
                const std::string& what) {
  if (H5Iget_type(group) == H5I_DATASET) {
    fail(ErrorKind::internal, "{}: {} bytes are too long for an attribute of a dataset", what,
         value.bytes.size());
  }
  const Hdf5Handle space = make_space(value.size);
  const Hdf5Handle options =
      own(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, ErrorKind::internal, what);
  H5Pset_obj_track_times(options.get(), false);
  const Hdf5Handle dataset = own(H5Dcreate2(group, name.c_str(), value.type.get(), space.get(),
                                            H5P_DEFAULT, options.get(), H5P_DEFAULT),
                                 H5Dclose, ErrorKind::resource, what);
  check_hdf5(
      H5Dwrite(dataset.get(), value.type.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, value.bytes.data()),
      ErrorKind::resource, what);
  write_small(dataset.get(), kLongAttributeMark, encode(Json(true)), what);
}

template <typename T>
Json values_as_json(const std::vector<uint8_t>& bytes) {
  const auto* values = reinterpret_cast<const T*>(bytes.data());
  return std::vector<T>(values, values + bytes.size() / sizeof(T));
}

/// The elements as a JSON array.
Json read_elements(hid_t attribute, hid_t type, size_t count, const std::string& what) {
  const auto read = [&](hid_t memory_type, size_t element_bytes) {
    if (element_bytes > static_cast<size_t>(kLongestAttributeBytes) / std::max<size_t>(count, 1)) {
      fail(ErrorKind::input, "{}: it is longer than mechsweep writes any", what);
    }
    std::vector<uint8_t> bytes(count * element_bytes);
    check_hdf5(H5Aread(attribute, memory_type, bytes.data()), ErrorKind::input, what);
    return bytes;
  };
  const H5T_class_t kind = H5Tget_class(type);
  if (kind == H5T_INTEGER) return values_as_json<int64_t>(read(H5T_NATIVE_INT64, 8));
  if (kind == H5T_FLOAT) return values_as_json<double>(read(H5T_NATIVE_DOUBLE, 8));
  if (kind == H5T_STRING && H5Tis_variable_str(type) == 0) {
    const size_t size = H5Tget_size(type);
    return unpack_texts(read(type, size), static_cast<int64_t>(size));
  }
  if (kind == H5T_ENUM && H5Tget_size(type) == 1) {
    Json flags = Json::array();
    for (const uint8_t flag : read(type, 1)) flags.push_back(flag != 0);
    return flags;
  }
  fail(ErrorKind::input, "{}: it has a type that mechsweep never writes", what);
}

Json read_one(hid_t object, const std::string& name, const std::string& path) {
  const std::string what = fmt::format("attribute {} of {} cannot be read", name, path);
  const Hdf5Handle attribute =
      own(H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, ErrorKind::input, what);
  const Hdf5Handle type = own(H5Aget_type(attribute.get()), H5Tclose, ErrorKind::input, what);
  const Hdf5Handle space = own(H5Aget_space(attribute.get()), H5Sclose, ErrorKind::input, what);
  const hssize_t count = H5Sget_simple_extent_npoints(space.get());
  if (count < 0 || count > kLongestAttributeBytes) {
    fail(ErrorKind::input, "{}: it is longer than mechsweep writes any", what);
  }
  Json values = read_elements(attribute.get(), type.get(), static_cast<size_t>(count), what);
  if (H5Sget_simple_extent_type(space.get()) != H5S_SCALAR) return values;
  return values.at(0);
}

herr_t collect_name(hid_t /*object*/, const char* name, const H5A_info_t* /*info*/, void* out) {
  static_cast<std::vector<std::string>*>(out)->push_back(name);
  return 0;
}

}  // namespace

hid_t make_text_type(int64_t bytes) {
  Hdf5Handle type = copy_type(H5T_C_S1);
  check_hdf5(H5Tset_size(type.get(), static_cast<size_t>(bytes)), ErrorKind::internal,
             "HDF5 cannot make a text type");
  H5Tset_strpad(type.get(), H5T_STR_NULLPAD);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type.release();
}

void write_attributes(hid_t object, const Json& attributes, const std::string& path) {
  for (const auto& [name, value] : attributes.items()) {
    const std::string what = fmt::format("attribute {} of {} cannot be written", name, path);
    const Encoded encoded = encode(value);
    if (std::ssize(encoded.bytes) > kLongestAttributeBytes) {
      write_long(object, name, encoded, what);
    } else {
      write_small(object, name, encoded, what);
    }
  }
}

Json read_attributes(hid_t object, const std::string& path) {
  std::vector<std::string> names;
  check_hdf5(H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, nullptr, collect_name, &names),
             ErrorKind::input, fmt::format("the attributes of {} cannot be read", path));
  Json out = Json::object();
  for (const auto& name : names) {
    const bool is_ours =
        std::find(kScaleAttributes.begin(), kScaleAttributes.end(), name) == kScaleAttributes.end();
    if (is_ours) out[name] = read_one(object, name, path);
  }
  return out;
}

}  // namespace mechsweep
