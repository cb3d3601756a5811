// SIGINT and SIGTERM for a command that runs until it is told to end: the first one is kept, for a command that then ends in order; a
// second one ends the process at once, whatever it waits for. Thread: the main one.
#pragma once

namespace odradek::cli {

void take_stop_signals();
// The signal that came since take_stop_signals(); 0: none.
int stop_signal();

}  // namespace odradek::cli
