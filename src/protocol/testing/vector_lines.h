// Lines "<message> <version> <body in hex, - if empty>": the form of testdata/golden.txt and of tests/protocol_java.
#pragma once

#include <charconv>
#include <istream>
#include <string>
#include <vector>

#include "protocol/testing/any_message.h"

namespace odradek::protocol::testing {

struct VectorLine {
  std::string message;
  int16_t version = 0;
  Bytes body;
};

inline std::string to_hex(ByteView bytes) {
  if (bytes.empty()) return "-";
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

// Lines that start with '#' are skipped.
inline std::vector<VectorLine> read_vector_lines(std::istream& in) {
  std::vector<VectorLine> lines;
  for (std::string name, version, hex; in >> name;) {
    if (name[0] == '#') {
      std::getline(in, name);
      continue;
    }
    in >> version >> hex;
    VectorLine& line = lines.emplace_back();
    line.message = name;
    line.version = static_cast<int16_t>(std::stoi(version));
    for (size_t i = 0; hex != "-" && i + 1 < hex.size(); i += 2) {
      uint8_t byte = 0;
      std::from_chars(hex.data() + i, hex.data() + i + 2, byte, 16);
      line.body.push_back(byte);
    }
  }
  return lines;
}

}  // namespace odradek::protocol::testing
