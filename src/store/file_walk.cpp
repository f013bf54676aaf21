#include "store/file_walk.h"

#include <hdf5_hl.h>

#include <algorithm>

namespace mechsweep {
namespace {

constexpr int kDeepest = 32;

struct Member {
  std::string name;
  H5L_type_t link = H5L_TYPE_ERROR;
};

herr_t collect_member(hid_t /*group*/, const char* name, const H5L_info_t* info, void* out) {
  static_cast<std::vector<Member>*>(out)->push_back({name, info->type});
  return 0;
}

void walk_group(hid_t file, const std::string& path, int depth, FileWalk& walk) {
  const std::string shown = path.empty() ? "/" : path;
  if (depth > kDeepest) {
    fail(ErrorKind::input, "group {} is nested too deeply; the file is damaged", shown);
  }
  std::vector<Member> members;
  check_hdf5(H5Literate_by_name(file, shown.c_str(), H5_INDEX_NAME, H5_ITER_INC, nullptr,
                                collect_member, &members, H5P_DEFAULT),
             ErrorKind::input, fmt::format("group {} cannot be listed", shown));
  for (const Member& member : members) {
    const std::string child = path + "/" + member.name;
    if (member.link != H5L_TYPE_HARD) {
      fail(ErrorKind::input, "{} is a link to elsewhere, which mechsweep never makes", child);
    }
    H5O_info_t info;
    check_hdf5(H5Oget_info_by_name2(file, child.c_str(), &info, H5O_INFO_BASIC, H5P_DEFAULT),
               ErrorKind::input, fmt::format("{} cannot be examined", child));
    if (!walk.headers.insert(info.addr).second) {
      fail(ErrorKind::input, "{} is another name of something else, which mechsweep never makes",
           child);
    }
    if (info.type == H5O_TYPE_GROUP) {
      walk.groups.push_back(child);
      walk_group(file, child, depth + 1, walk);
    } else if (info.type == H5O_TYPE_DATASET) {
      walk.datasets.push_back(child);
      walk.path_of[info.addr] = child;
    } else {
      fail(ErrorKind::input, "{} is neither a group nor a dataset", child);
    }
  }
}

herr_t keep_address(hid_t /*dataset*/, unsigned /*axis*/, hid_t scale, void* out) {
  H5O_info_t info;
  if (H5Oget_info2(scale, &info, H5O_INFO_BASIC) < 0) return -1;
  *static_cast<haddr_t*>(out) = info.addr;
  return 1;  // the first scale is enough
}

}  // namespace

FileWalk walk_file(hid_t file) {
  FileWalk walk;
  H5O_info_t root;
  check_hdf5(H5Oget_info2(file, &root, H5O_INFO_BASIC), ErrorKind::input,
             "the root group cannot be examined");
  walk.headers.insert(root.addr);
  walk_group(file, "", 0, walk);
  std::sort(walk.datasets.begin(), walk.datasets.end());
  return walk;
}

std::vector<std::string> scales_of(const Dataset& dataset, const FileWalk& walk) {
  std::vector<std::string> scales(dataset.spec().shape.size());
  if (H5Aexists(dataset.id(), "DIMENSION_LIST") <= 0) return {};
  for (size_t axis = 0; axis < scales.size(); ++axis) {
    haddr_t address = HADDR_UNDEF;
    const herr_t status = H5DSiterate_scales(dataset.id(), static_cast<unsigned>(axis), nullptr,
                                             keep_address, &address);
    check_hdf5(status, ErrorKind::input,
               fmt::format("the scales of dataset {} cannot be read", dataset.spec().path));
    if (address == HADDR_UNDEF) continue;
    const auto found = walk.path_of.find(address);
    if (found == walk.path_of.end()) {
      fail(ErrorKind::input, "a scale of dataset {} is missing; the file is damaged",
           dataset.spec().path);
    }
    scales[axis] = found->second;
  }
  return scales;
}

bool is_scale(const Dataset& dataset) {
  return H5DSis_scale(dataset.id()) > 0;
}

}  // namespace mechsweep
