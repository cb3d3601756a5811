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

// kNotPreempting: when the calling thread wakes up it waits for a processor that is free, or for the end of the present turn of one,
// instead of interrupting whoever runs there (Linux: SCHED_BATCH). With a free processor there is no difference.
enum class Waking { kPreempting, kNotPreempting };
void set_waking_of_this_thread(Waking waking);

}  // namespace odradek::base
