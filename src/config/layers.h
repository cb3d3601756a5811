// How the layers of broker configs lie over each other. Inside the room only.
#pragma once

#include <string_view>
#include <vector>

#include "config/config.h"

namespace odradek::config {

// The keys that say the same as `name`, strongest first, itself among them. With `listener_base`, listener.name.<l>.<key> is
// followed by <key>.
std::vector<std::string_view> same_meaning(std::string_view name, bool listener_base);

// What is set, over all layers: a dynamic value also covers weaker static keys of the same meaning.
Properties merge(const Properties& static_values, const Properties& dynamic_default, const Properties& dynamic_broker);

}  // namespace odradek::config
