// CHECK(condition): a broken invariant ends the process with its place; always on. For what the program itself guarantees,
// never for what a client or a disk can cause.
#pragma once

namespace odradek::base {

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace odradek::base

#define CHECK(condition) \
  (__builtin_expect(static_cast<bool>(condition), 1) ? static_cast<void>(0) : ::odradek::base::check_failed(#condition, __FILE__, __LINE__))
