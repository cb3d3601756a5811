// Compiled for its precompiled header alone: see cmake/room.cmake.
