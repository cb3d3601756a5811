// Every message behind one shape, for tests that walk all of them.
#pragma once

#include <string_view>
#include <vector>

#include "protocol/codec.h"

namespace odradek::protocol::testing {

class RandomValue;

struct AnyMessage {
  std::string_view name;  // "FetchRequest"
  std::string_view kind;  // "request", "response", "stored"
  int key = -1;           // of the API; -1: stored
  int16_t min = 0, max = 0;
  // Decodes the body and encodes it again.
  Result<Bytes> (*recode)(MutableByteView body, int16_t version) = nullptr;
  // Decodes, encodes, and both once more: false if the bytes differ. A body that cannot be decoded is true.
  bool (*stable)(MutableByteView body, int16_t version) = nullptr;
  Bytes (*random)(RandomValue& random, int16_t version) = nullptr;
};

// In the order of the schemas' names.
const std::vector<AnyMessage>& all_messages();
// nullptr: none.
const AnyMessage* find_message(std::string_view name);

}  // namespace odradek::protocol::testing
