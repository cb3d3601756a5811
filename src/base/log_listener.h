// For tests: who hears every line that is written (base/log.h).
#pragma once

#include <functional>
#include <string_view>

#include "base/log.h"

namespace odradek::log {

using Listener = std::function<void(std::string_view logger, Level level, std::string_view line)>;
// Called on the thread that writes. Set before other threads run; null: nobody.
void set_listener(Listener listener);

}  // namespace odradek::log
