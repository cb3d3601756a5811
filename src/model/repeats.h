// How often each thing is named in one request. Some bytes name what thousands describe: an answer that described it each time would
// fill the memory. Nobody asks for the same thing twice on purpose, and Kafka answers who does it; so do we, up to a limit.
#pragma once

#include <cstddef>
#include <map>
#include <utility>

namespace odradek {

// Key: what names a thing; views must outlive this.
template <class Key>
class Repeats {
 public:
  static constexpr size_t kMost = 100;
  // Counts one more; true: it has been named too often.
  bool too_often(Key key) { return count(std::move(key)) > kMost; }
  // Counts one more: how often it has been named, this time included.
  size_t count(Key key) { return ++times_[std::move(key)]; }

 private:
  std::map<Key, size_t> times_;
};

}  // namespace odradek
