# mechsweep_reader_sources(VARIABLE ROOT): the sources that read other people's bytes and all that
# they need. None of it includes LibTorch, so that sanitizers and fuzzers build it alone.
function(mechsweep_reader_sources variable root)
  file(GLOB sources CONFIGURE_DEPENDS ${root}/src/core/*.cpp ${root}/src/model/*.cpp
       ${root}/src/model/arch/*.cpp ${root}/src/prompts/*.cpp)
  foreach(computes attention library_linear linear model model_loader model_paths narrow_kernels packed_matrix
          rotary row_kernels weight_shapes)
    list(REMOVE_ITEM sources ${root}/src/model/${computes}.cpp)
  endforeach()
  foreach(source engine/certificate_reference engine/intervention engine/site
          experiments/activation_sums experiments/array_spec
          experiments/intervention_file experiments/listed_edit_reader experiments/selection
          experiments/vector_files plan/yaml_reader)
    list(APPEND sources ${root}/src/${source}.cpp)
  endforeach()
  set(${variable} ${sources} PARENT_SCOPE)
endfunction()
