# planted_program(<target> <change> <main> <room> [STRICT]): the program of `main` and `room`, but for source files of the product that are
# copied with a change (tools/plant.py). The product knows nothing of it; the target is built only when asked for. STRICT: the build fails
# when the product has moved on and the change does not apply.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
function(planted_program target change main room)
  cmake_parse_arguments(PLANTED "STRICT" "" "" ${ARGN})
  set(plant ${CMAKE_SOURCE_DIR}/tools/plant.py)
  set(strict)
  if(PLANTED_STRICT)
    set(strict --strict)
  endif()
  execute_process(COMMAND ${Python3_EXECUTABLE} ${plant} --sources ${change} OUTPUT_VARIABLE sources COMMAND_ERROR_IS_FATAL ANY)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${change})  # it may name other files one day
  set(folder ${CMAKE_CURRENT_BINARY_DIR}/planted/${target})
  file(MAKE_DIRECTORY ${folder})
  set(copies)
  foreach(source ${sources})
    get_filename_component(name ${source} NAME)
    add_custom_command(OUTPUT ${folder}/${name} COMMAND ${Python3_EXECUTABLE} ${plant} ${change} ${CMAKE_SOURCE_DIR} ${source} ${folder}/${name} ${strict}
                       DEPENDS ${change} ${CMAKE_SOURCE_DIR}/${source} ${plant})
    list(APPEND copies ${folder}/${name})
  endforeach()
  # The linker takes the copies, and leaves the room's own object files where they are.
  add_executable(${target} EXCLUDE_FROM_ALL ${main} ${copies})
  target_link_libraries(${target} PRIVATE ${room})
endfunction()
