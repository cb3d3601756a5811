// Our side of tests/protocol_java.
//   protocol_recode recode < lines        decodes each line (testing/vector_lines.h), encodes it, prints it
//   protocol_recode random <seed> <n>     prints n random messages of each message and version
#include <cstdio>
#include <cstdlib>
#include <iostream>

#include "protocol/testing/random_value.h"
#include "protocol/testing/vector_lines.h"

using namespace odradek;
using namespace odradek::protocol::testing;

namespace {

int recode() {
  int failures = 0;
  for (VectorLine& line : read_vector_lines(std::cin)) {
    const AnyMessage* message = find_message(line.message);
    std::printf("%s %d ", line.message.c_str(), line.version);
    if (message == nullptr) {
      std::puts("no such message");
      ++failures;
    } else if (auto bytes = message->recode(line.body, line.version)) {
      std::puts(to_hex(*bytes).c_str());
    } else {
      std::puts(bytes.error().what.c_str());
      ++failures;
    }
  }
  return failures == 0 ? 0 : 1;
}

int random(uint64_t seed, int count) {
  for (const AnyMessage& message : all_messages()) {
    for (int16_t version = message.min; version <= message.max; ++version) {
      for (int i = 0; i < count; ++i) {
        RandomValue value(seed++);
        std::printf("%s %d %s\n", std::string(message.name).c_str(), version, to_hex(message.random(value, version)).c_str());
      }
    }
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  std::string mode = argc > 1 ? argv[1] : "";
  if (mode == "recode" && argc == 2) return recode();
  if (mode == "random" && argc == 4) return random(std::strtoull(argv[2], nullptr, 10), std::atoi(argv[3]));
  std::fputs("usage: protocol_recode recode < lines | protocol_recode random <seed> <n>\n", stderr);
  return 2;
}
