#include "store/hdf5_dataset.h"

#include <algorithm>

#include "store/hdf5_attributes.h"

namespace mechsweep {
namespace {

hid_t plain_type(ElementType type) {
  switch (type) {
    case ElementType::f64:
      return H5T_IEEE_F64LE;
    case ElementType::f32:
      return H5T_IEEE_F32LE;
    case ElementType::i32:
      return H5T_STD_I32LE;
    case ElementType::u8:
      return H5T_STD_U8LE;
  }
  ensure(false, "unknown element type");
  return -1;
}

/// Type and text size of a stored type, if it is one of ours.
bool recognise_type(hid_t type, DatasetSpec& spec) {
  if (H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0) {
    spec.type = ElementType::u8;
    spec.text_size = static_cast<int64_t>(H5Tget_size(type));
    return true;
  }
  for (const auto candidate :
       {ElementType::f64, ElementType::f32, ElementType::i32, ElementType::u8}) {
    if (H5Tequal(type, plain_type(candidate)) > 0) {
      spec.type = candidate;
      return true;
    }
  }
  return false;
}

/// Selects a box of a dataset's dataspace; returns the dataspace of the same shape in memory.
/// `what` says what fails when HDF5 does.
Hdf5Handle select_box(const Hdf5Handle& stored, const Box& box, const std::string& what) {
  check_hdf5(H5Sselect_hyperslab(stored.get(), H5S_SELECT_SET, box.start.data(), nullptr,
                                 box.count.data(), nullptr),
             ErrorKind::internal, what);
  return own(H5Screate_simple(static_cast<int>(box.count.size()), box.count.data(), nullptr),
             H5Sclose, ErrorKind::internal, what);
}

}  // namespace

Hdf5Handle make_element_type(const DatasetSpec& spec) {
  return own(spec.text_size > 0 ? make_text_type(spec.text_size) : H5Tcopy(plain_type(spec.type)),
             H5Tclose, ErrorKind::internal, "HDF5 cannot make an element type");
}

std::vector<Box> boxes_of(const std::vector<int64_t>& shape, int64_t offset, int64_t count) {
  const size_t rank = shape.size();
  std::vector<int64_t> stride(rank, 1);
  for (size_t axis = rank; axis-- > 1;) stride[axis - 1] = stride[axis] * shape[axis];
  std::vector<Box> boxes;
  while (count > 0 && rank > 0) {
    // The outermost axis along which whole steps can be taken from here.
    size_t axis = 0;
    while (offset % stride[axis] != 0 || count < stride[axis]) ++axis;
    Box box{std::vector<hsize_t>(rank), std::vector<hsize_t>(rank, 1)};
    for (size_t i = 0; i <= axis; ++i) {
      box.start[i] = static_cast<hsize_t>(offset / stride[i] % shape[i]);
    }
    const int64_t steps =
        std::min(count / stride[axis], shape[axis] - static_cast<int64_t>(box.start[axis]));
    box.count[axis] = static_cast<hsize_t>(steps);
    for (size_t i = axis + 1; i < rank; ++i) box.count[i] = static_cast<hsize_t>(shape[i]);
    offset += steps * stride[axis];
    count -= steps * stride[axis];
    boxes.push_back(std::move(box));
  }
  return boxes;
}

Dataset::Dataset(hid_t file, const std::string& path) {
  spec_.path = path;
  const std::string what = fmt::format("dataset {} cannot be opened", path);
  dataset_ = own(H5Dopen2(file, path.c_str(), H5P_DEFAULT), H5Dclose, ErrorKind::input, what);
  type_ = own(H5Dget_type(dataset_.get()), H5Tclose, ErrorKind::input, what);
  space_ = own(H5Dget_space(dataset_.get()), H5Sclose, ErrorKind::input, what);
  if (!recognise_type(type_.get(), spec_)) {
    fail(ErrorKind::input, "dataset {} has a type that mechsweep never writes", path);
  }
  const int rank = H5Sget_simple_extent_ndims(space_.get());
  check_hdf5(rank, ErrorKind::input, what);
  std::vector<hsize_t> dims(static_cast<size_t>(rank));
  std::vector<hsize_t> limits(static_cast<size_t>(rank));
  H5Sget_simple_extent_dims(space_.get(), dims.data(), limits.data());
  if (dims != limits || H5Sget_simple_extent_type(space_.get()) == H5S_NULL) {
    fail(ErrorKind::input, "dataset {} can change its size, which mechsweep never writes", path);
  }
  spec_.shape.assign(dims.begin(), dims.end());
  check_storage(file);
  const haddr_t address = H5Dget_offset(dataset_.get());
  if (address != HADDR_UNDEF) {
    const auto begin = static_cast<int64_t>(address);
    extent_ = {begin, begin + spec_.elements() * spec_.element_bytes()};
  }
}

void Dataset::check_storage(hid_t file) const {
  const Hdf5Handle options = own(H5Dget_create_plist(dataset_.get()), H5Pclose, ErrorKind::input,
                                 fmt::format("dataset {} cannot be examined", spec_.path));
  if (H5Pget_layout(options.get()) != H5D_CONTIGUOUS || H5Pget_external_count(options.get()) != 0) {
    fail(ErrorKind::input, "dataset {} is not stored contiguously inside the file", spec_.path);
  }
  // A damaged shape must not make us allocate more than the file can hold.
  hsize_t file_bytes = 0;
  H5Fget_filesize(file, &file_bytes);
  const hsize_t stored = H5Dget_storage_size(dataset_.get());
  hsize_t expected = static_cast<hsize_t>(spec_.element_bytes());
  bool fits = true;
  for (const int64_t size : spec_.shape) {
    fits = fits && (size == 0 || expected <= file_bytes / static_cast<hsize_t>(size));
    if (fits) expected *= static_cast<hsize_t>(size);
  }
  if (!fits || stored != expected || stored > file_bytes) {
    fail(ErrorKind::input, "dataset {} does not fit into the file; the file is damaged",
         spec_.path);
  }
}

std::vector<uint8_t> Dataset::read(int64_t offset, int64_t count) const {
  const std::scoped_lock lock(hdf5_mutex());
  if (offset < 0 || count < 0 || offset > spec_.elements() - count) {
    fail(ErrorKind::internal, "elements {} to {} are beyond dataset {}", offset, offset + count,
         spec_.path);
  }
  const std::string what = fmt::format("dataset {} cannot be read", spec_.path);
  std::vector<uint8_t> bytes(static_cast<size_t>(count * spec_.element_bytes()));
  if (spec_.shape.empty()) {
    check_hdf5(H5Dread(id(), type_.get(), H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()),
               ErrorKind::input, what);
    return bytes;
  }
  uint8_t* to = bytes.data();
  for (const Box& box : boxes_of(spec_.shape, offset, count)) {
    const Hdf5Handle memory = select_box(space_, box, what);
    check_hdf5(H5Dread(id(), type_.get(), memory.get(), space_.get(), H5P_DEFAULT, to),
               ErrorKind::input, what);
    to += H5Sget_simple_extent_npoints(memory.get()) * spec_.element_bytes();
  }
  return bytes;
}

std::vector<double> Dataset::read_doubles() const {
  const std::scoped_lock lock(hdf5_mutex());
  if (spec_.text_size > 0) {
    fail(ErrorKind::input, "dataset {} holds texts, not numbers", spec_.path);
  }
  std::vector<double> values(static_cast<size_t>(spec_.elements()));
  check_hdf5(H5Dread(id(), H5T_NATIVE_DOUBLE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()),
             ErrorKind::input, fmt::format("dataset {} cannot be read", spec_.path));
  return values;
}

}  // namespace mechsweep
