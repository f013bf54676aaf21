# Finds LibTorch without its own CMake package, which insists on a CUDA toolkit even for CPU use.
# Looks at LIBTORCH_DIR (the folder that holds include/ and lib/), then along CMAKE_PREFIX_PATH.
# Makes LibTorch::cpu, and with MECHSWEEP_CUDA LibTorch::cuda.
find_path(LIBTORCH_INCLUDE_DIR ATen/ATen.h
          HINTS ${LIBTORCH_DIR} ENV LIBTORCH_DIR PATH_SUFFIXES include torch/include)
find_library(LIBTORCH_CPU_LIBRARY torch_cpu
             HINTS ${LIBTORCH_DIR} ENV LIBTORCH_DIR PATH_SUFFIXES lib torch/lib)
find_library(LIBTORCH_C10_LIBRARY c10
             HINTS ${LIBTORCH_DIR} ENV LIBTORCH_DIR PATH_SUFFIXES lib torch/lib)
include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(LibTorch
  REQUIRED_VARS LIBTORCH_INCLUDE_DIR LIBTORCH_CPU_LIBRARY LIBTORCH_C10_LIBRARY
  REASON_FAILURE_MESSAGE "Run scripts/build.sh, or pass -DLIBTORCH_DIR=FOLDER_OF_THE_TORCH_PACKAGE.")
if(LibTorch_FOUND AND NOT TARGET LibTorch::cpu)
  add_library(LibTorch::cpu INTERFACE IMPORTED)
  target_link_libraries(LibTorch::cpu INTERFACE ${LIBTORCH_CPU_LIBRARY} ${LIBTORCH_C10_LIBRARY})
  # -idirafter: the wheel carries its own {fmt} headers, which must not hide the system's.
  target_compile_options(LibTorch::cpu INTERFACE
    "SHELL:-idirafter ${LIBTORCH_INCLUDE_DIR}"
    "SHELL:-idirafter ${LIBTORCH_INCLUDE_DIR}/torch/csrc/api/include")
endif()
