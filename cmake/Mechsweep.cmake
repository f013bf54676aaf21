# Helpers for the layers of src/. Sources are globbed with CONFIGURE_DEPENDS: adding a file is
# enough, and a forgotten file cannot be left out of the build.

add_library(mechsweep_options INTERFACE)
# Off: the ABI note on wide vectors (ours are always inlined), fields left to their defaults in
# designated initialisers, and three flow warnings that g++ 12 raises falsely inside std::string and
# {fmt} when it inlines.
target_compile_options(mechsweep_options INTERFACE -Wall -Wextra -Wpedantic -Wshadow -Wconversion
                       -Wno-sign-conversion -Wno-psabi -Wno-missing-field-initializers
                       -Wno-maybe-uninitialized -Wno-stringop-overflow -Wno-restrict)
if(MECHSWEEP_WERROR)
  target_compile_options(mechsweep_options INTERFACE -Werror)
endif()
if(MECHSWEEP_SANITIZE)
  target_compile_options(mechsweep_options INTERFACE -fsanitize=${MECHSWEEP_SANITIZE}
                         -fno-omit-frame-pointer -fno-sanitize-recover=all)
  target_link_options(mechsweep_options INTERFACE -fsanitize=${MECHSWEEP_SANITIZE})
endif()
target_include_directories(mechsweep_options INTERFACE ${PROJECT_SOURCE_DIR}/src
                           ${PROJECT_SOURCE_DIR})

add_library(mechsweep_hdf5 INTERFACE)
target_include_directories(mechsweep_hdf5 SYSTEM INTERFACE ${HDF5_INCLUDE_DIRS})
# Dimension scales are in the HL library. hdf5.h includes mpi.h, whose C++ classes need a library of
# their own that nothing here uses.
target_compile_definitions(mechsweep_hdf5 INTERFACE OMPI_SKIP_MPICXX MPICH_SKIP_MPICXX)
target_link_libraries(mechsweep_hdf5 INTERFACE ${HDF5_HL_LIBRARIES} ${HDF5_LIBRARIES})

# mechsweep_layer(NAME [DIRECTORY DIR] [ATEN_SOURCES ...] LINKS ...): the static library
# mechsweep_NAME of a folder. The ATen header takes 15 s to compile; files named in ATEN_SOURCES get
# it precompiled, the others are spared it.
function(mechsweep_layer name)
  cmake_parse_arguments(ARG "" "DIRECTORY" "LINKS;ATEN_SOURCES" ${ARGN})
  if(NOT ARG_DIRECTORY)
    set(ARG_DIRECTORY ${PROJECT_SOURCE_DIR}/src/${name})
  endif()
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${ARG_DIRECTORY}/*.cpp)
  add_library(mechsweep_${name} STATIC ${sources})
  if(ARG_ATEN_SOURCES)
    target_precompile_headers(mechsweep_${name} PRIVATE
                              "$<$<COMPILE_LANGUAGE:CXX>:<ATen/ATen.h$<ANGLE-R>>")
    set(plain_sources ${sources})
    foreach(file ${ARG_ATEN_SOURCES})
      list(REMOVE_ITEM plain_sources ${ARG_DIRECTORY}/${file})
    endforeach()
    set_source_files_properties(${plain_sources} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
  endif()
  target_link_libraries(mechsweep_${name} PUBLIC ${ARG_LINKS} PRIVATE mechsweep_options)
  target_include_directories(mechsweep_${name} PUBLIC ${PROJECT_SOURCE_DIR}/src
                             ${PROJECT_SOURCE_DIR})
endfunction()

# mechsweep_program(NAME DIRECTORY DIR LINKS ...)
function(mechsweep_program name)
  cmake_parse_arguments(ARG "" "DIRECTORY" "LINKS" ${ARGN})
  file(GLOB_RECURSE sources CONFIGURE_DEPENDS ${ARG_DIRECTORY}/*.cpp)
  list(FILTER sources EXCLUDE REGEX "/main\\.cpp$")
  add_library(mechsweep_app STATIC ${sources})
  target_link_libraries(mechsweep_app PUBLIC ${ARG_LINKS} PRIVATE mechsweep_options)
  add_executable(${name} ${ARG_DIRECTORY}/main.cpp)
  target_link_libraries(${name} PRIVATE mechsweep_app mechsweep_options)
endfunction()
