// Memory of one run at addresses that depend on nothing but the run: absl's tables order their elements by addresses.
// Thread: one.
#pragma once

namespace odradek::sim {

// From here on operator new takes from the arena. Once in a process; no effect in builds with sanitizers.
void use_arena();

}  // namespace odradek::sim
