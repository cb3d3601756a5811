#include "model/types.h"

#include <cstdlib>

namespace odradek {

std::string topic_name_fault(std::string_view name) {
  if (name.empty()) return "Topic name is invalid: the empty string is not allowed";
  if (name == "." || name == "..") return "Topic name is invalid: '" + std::string(name) + "' is not allowed";
  if (name.size() > 249) {
    return "Topic name is invalid: the length of '" + std::string(name.substr(0, 300)) + "' is longer than the max allowed length 249";
  }
  for (char c : name) {
    bool legal = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
    if (!legal) {
      return "Topic name is invalid: '" + std::string(name) + "' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'";
    }
  }
  return {};
}

bool is_internal_topic(std::string_view name) { return name == kGroupMetadataTopic || name == kTransactionStateTopic; }

int32_t java_hash(std::string_view text) {
  uint32_t hash = 0;
  auto add = [&](uint32_t unit) { hash = 31 * hash + unit; };
  for (size_t i = 0; i < text.size();) {
    auto lead = static_cast<uint8_t>(text[i]);
    auto next = [&](size_t k) { return i + k < text.size() ? static_cast<uint32_t>(static_cast<uint8_t>(text[i + k]) & 0x3f) : 0u; };
    if (lead < 0x80) {
      add(lead);
      i += 1;
    } else if (lead < 0xe0) {
      add(((lead & 0x1fu) << 6) | next(1));
      i += 2;
    } else if (lead < 0xf0) {
      add(((lead & 0x0fu) << 12) | (next(1) << 6) | next(2));
      i += 3;
    } else {
      uint32_t point = (((lead & 0x07u) << 18) | (next(1) << 12) | (next(2) << 6) | next(3)) - 0x10000;
      add(0xd800 + (point >> 10));
      add(0xdc00 + (point & 0x3ff));
      i += 4;
    }
  }
  return static_cast<int32_t>(hash);
}

int32_t coordinator_partition(std::string_view id, int32_t partitions) {
  int32_t hash = java_hash(id);
  return (hash == INT32_MIN ? 0 : std::abs(hash)) % partitions;
}

std::string_view name_of(SecurityProtocol protocol) {
  switch (protocol) {
    case SecurityProtocol::kPlaintext: return "PLAINTEXT";
    case SecurityProtocol::kSsl: return "SSL";
    case SecurityProtocol::kSaslPlaintext: return "SASL_PLAINTEXT";
    case SecurityProtocol::kSaslSsl: return "SASL_SSL";
  }
  return "PLAINTEXT";
}

}  // namespace odradek
