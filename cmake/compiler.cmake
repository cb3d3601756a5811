# One place for what every target is compiled with.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE OFF)
set(CMAKE_RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)

find_program(CCACHE ccache)
if(CCACHE)
  # The sloppiness is what ccache asks for with precompiled headers.
  set(CMAKE_C_COMPILER_LAUNCHER ${CCACHE})
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env CCACHE_SLOPPINESS=pch_defines,time_macros ${CCACHE})
endif()
find_program(MOLD mold)
if(MOLD)
  add_link_options(-fuse-ld=mold)
endif()

add_compile_options(-Wall -Wextra -Wno-missing-field-initializers -fno-omit-frame-pointer)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)  # lets ccache work with precompiled headers
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  add_compile_options(-Wthread-safety)
endif()

# Baseline: x86-64-v2 (SSE4.2: CRC32C); what is faster is chosen at run time. Other machines take their compiler's default.
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  add_compile_options(-march=x86-64-v2)
endif()

set(CMAKE_CXX_FLAGS_RELEASE "-O3 -DNDEBUG")
set(CMAKE_C_FLAGS_RELEASE "-O3 -DNDEBUG")
set(CMAKE_CXX_FLAGS_DEBUG "-O1 -g1")
set(CMAKE_C_FLAGS_DEBUG "-O1 -g1")

if(ODRADEK_SANITIZE)
  if(NOT ODRADEK_FUZZ)  # a fuzzer runs long, these tests are compiled longer than they run
    set(CMAKE_CXX_FLAGS_DEBUG "-O0 -g1")
  endif()
  add_compile_options(-fsanitize=${ODRADEK_SANITIZE} -fno-sanitize-recover=all)
  if(ODRADEK_SANITIZE MATCHES undefined)
    # A null pointer that is used stops under ASan by itself, and these checks are a fifth of the time of a build.
    add_compile_options(-fno-sanitize=null,vptr,object-size)
  endif()
  add_link_options(-fsanitize=${ODRADEK_SANITIZE})
endif()
if(ODRADEK_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)  # the rooms tell the fuzzer which branches an input took
endif()
if(ODRADEK_LTO)
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    add_compile_options(-flto=auto -fno-fat-lto-objects)
    add_link_options(-flto=auto)
  else()
    add_compile_options(-flto=thin)
    add_link_options(-flto=thin)
  endif()
endif()

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(absl REQUIRED)
find_package(GTest)
