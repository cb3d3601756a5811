// Records from standard input.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace odradek::cli {

// Pieces of a file descriptor, with a wait that ends.
class Input {
 public:
  explicit Input(int descriptor) : descriptor_(descriptor) {}
  enum class State { kData, kNothingYet, kEnd };
  // Reads once. Waits at most `wait_ms` (-1: until something comes).
  State read_more(int wait_ms);
  // A line without its '\n' that has come whole, or the rest at the end.
  std::optional<std::string_view> line();
  // A record behind its length, int32 big-endian. Errors: kInvalidRequest, negative or above 1 GiB.
  Result<std::optional<std::string_view>> length_prefixed();
  // Everything that has come.
  std::string_view rest() const { return std::string_view(buffer_).substr(at_); }
  bool at_end() const { return end_; }
  // errno of the read that ended it; 0: none. What has come then is not the whole.
  int error() const { return error_; }

 private:
  const int descriptor_;
  std::string buffer_;
  size_t at_ = 0, searched_ = 0;
  bool end_ = false;
  int error_ = 0;
};

struct InputHeader {
  std::string key;
  std::optional<std::string> value;
};
struct InputRecord {
  std::optional<std::string> key, value;
  std::vector<InputHeader> headers;
  std::optional<int32_t> partition;
  std::optional<int64_t> timestamp;
};
// {"key": text or null, "value": ..., "headers": {name: text} or [{"name":..,"value":..}], "partition": n, "timestamp": ms}; "key_base64",
// "value_base64" and (in a header of the list) "value_base64" hold bytes that are no text. Errors: kInvalidRequest, what is wrong.
Result<InputRecord> parse_json_record(std::string_view line);

}  // namespace odradek::cli
