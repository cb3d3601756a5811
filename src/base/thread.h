// Named threads. Only `base` and `net` start threads.
#pragma once

#include <string>
#include <thread>

#include "base/function.h"

namespace odradek::base {

// Names the calling thread for `top -H` and the log (the kernel keeps 15 characters).
void name_this_thread(const std::string& name);
// Signals (but SIGSEGV and its kind) are blocked in the new thread: only the main thread takes them.
std::thread start_thread(std::string name, Task body);

}  // namespace odradek::base
