# room(<folder> [DEPS rooms...] [LIBS libraries...]): one folder of src/ as a static library, and its *_test.cc as one test program.
# The dependencies named here are the ones that src/LAYERS allows; tools/check_layers.py checks the includes.
#
# The headers of the library and of the language are read once for all rooms (ODRADEK_PCH): half of the time of a build. The fuzz
# build does without, so that a missing include shows.
add_library(odradek_headers OBJECT ${CMAKE_SOURCE_DIR}/cmake/headers.cc)
target_link_libraries(odradek_headers PRIVATE fmt::fmt absl::flat_hash_map absl::any_invocable)
if(ODRADEK_PCH)
  target_precompile_headers(odradek_headers PRIVATE
    <algorithm> <array> <atomic> <charconv> <chrono> <condition_variable> <cstdint> <cstring> <deque> <functional> <list> <map> <memory> <mutex>
    <optional> <set> <shared_mutex> <span> <string>
    <string_view> <unordered_map> <utility> <variant> <vector> <fmt/format.h> <absl/container/flat_hash_map.h>
    <absl/functional/any_invocable.h> <tl/expected.hpp>)
endif()

function(share_headers target)
  if(ODRADEK_PCH)
    target_link_libraries(${target} PRIVATE fmt::fmt absl::flat_hash_map absl::any_invocable)  # what the shared headers were compiled with
    target_precompile_headers(${target} REUSE_FROM odradek_headers)
  endif()
endfunction()

function(room name)
  cmake_parse_arguments(ROOM "" "" "DEPS;LIBS;TEST_DEPS;TEST_LIBS" ${ARGN})
  string(REPLACE "/" "_" flat ${name})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/src/${name}/*.cc)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "(_test|/main)\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  list(TRANSFORM ROOM_DEPS REPLACE "/" "_" OUTPUT_VARIABLE deps)
  list(TRANSFORM deps PREPEND "odradek_")
  if(sources)
    add_library(odradek_${flat} STATIC ${sources})
    share_headers(odradek_${flat})
    set(visibility PUBLIC)
  else()
    add_library(odradek_${flat} INTERFACE)
    set(visibility INTERFACE)
  endif()
  target_include_directories(odradek_${flat} ${visibility} ${CMAKE_SOURCE_DIR}/src)
  target_link_libraries(odradek_${flat} ${visibility} ${deps} ${ROOM_LIBS})
  if(tests AND ODRADEK_TESTS AND GTest_FOUND)
    list(TRANSFORM ROOM_TEST_DEPS REPLACE "/" "_" OUTPUT_VARIABLE test_deps)
    list(TRANSFORM test_deps PREPEND "odradek_")
    add_executable(${flat}_test ${tests})
    share_headers(${flat}_test)
    target_link_libraries(${flat}_test PRIVATE odradek_${flat} ${test_deps} ${ROOM_TEST_LIBS} GTest::gmock GTest::gtest_main)
    target_compile_definitions(${flat}_test PRIVATE ODRADEK_SOURCE_DIR="${CMAKE_SOURCE_DIR}")
    add_test(NAME ${flat} COMMAND ${flat}_test)
  endif()
endfunction()
