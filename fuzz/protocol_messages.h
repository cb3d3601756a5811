// What the three protocol targets share. Input: byte 0 chooses the message of the kind, byte 1 the version, the rest is the
// body. Whatever decodes must come back the same after an encode and another decode.
#pragma once

#include <string_view>
#include <vector>

#include "base/check.h"
#include "protocol/testing/any_message.h"

namespace odradek::fuzz {

inline int try_message(std::string_view kind, const uint8_t* data, size_t size) {
  using protocol::testing::AnyMessage;
  static const std::vector<const AnyMessage*> messages = [kind] {
    std::vector<const AnyMessage*> found;
    for (const AnyMessage& message : protocol::testing::all_messages()) {
      if (message.kind == kind) found.push_back(&message);
    }
    return found;
  }();
  if (size < 2) return 0;
  const AnyMessage& message = *messages[data[0] % messages.size()];
  auto version = static_cast<int16_t>(message.min + data[1] % (message.max - message.min + 1));
  Bytes body(data + 2, data + size);
  CHECK(message.stable(body, version));
  return 0;
}

}  // namespace odradek::fuzz
